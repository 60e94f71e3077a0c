package statefile

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"mirrorpool/config/safefile"
)

// A Format says what a sealed file holds. The file begins with a line of the kind, the version and a checksum of all
// that follows. The checksum is for a file that was cut or edited, not against an attacker.
type Format struct {
	Kind    string // such as "mirrorpool-serial"
	Version int
	Limit   int64 // bytes behind the first line, at most
}

// Seal writes body behind the first line.
func (f Format) Seal(w io.Writer, body []byte) error {
	if _, err := w.Write(f.header(body)); err != nil {
		return err
	}
	_, err := w.Write(body)
	return err
}

func (f Format) header(body []byte) []byte {
	return fmt.Appendf(nil, "%s %d sha256:%x\n", f.Kind, f.Version, sha256.Sum256(body))
}

// Unseal reads what Seal has written. The error says if it is of another kind or version, or not as it was written.
func (f Format) Unseal(r io.Reader) (body []byte, err error) {
	in := bufio.NewReader(r) // whose buffer bounds the first line
	header, err := in.ReadSlice('\n')
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
		return nil, err
	}
	header = bytes.Clone(header)
	body, err = io.ReadAll(io.LimitReader(in, f.Limit+1))
	switch {
	case err != nil:
		return nil, err
	case int64(len(body)) > f.Limit:
		return nil, fmt.Errorf("more than %d bytes", f.Limit)
	case !bytes.HasPrefix(header, []byte(f.Kind+" ")):
		return nil, errors.New("not a file of " + f.Kind)
	case !bytes.HasPrefix(header, fmt.Appendf(nil, "%s %d ", f.Kind, f.Version)):
		return nil, errors.New("saved by another version of mirrorpool")
	case !bytes.Equal(header, f.header(body)):
		return nil, errors.New("checksum does not match")
	}
	return body, nil
}

// Load has use read the body of the sealed file at path, if there is one. One that cannot be used is set aside, as
// [Load] does.
func (f Format) Load(path string, use func(body []byte) error) error {
	return Load(path, func(r io.Reader) error {
		body, err := f.Unseal(r)
		if err != nil {
			return err
		}
		return use(body)
	})
}

// Read is Load of what must not be lost: a file that cannot be used stays where it is, so that each attempt fails until
// it is put right.
func (f Format) Read(path string, use func(body []byte) error) error {
	err := load(path, func(r io.Reader) error {
		body, err := f.Unseal(r)
		if err != nil {
			return err
		}
		return use(body)
	})
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("%s: %w", path, safefile.Reason(err))
}

// Replace replaces the sealed file at path.
func (f Format) Replace(path string, body []byte) error {
	return Replace(path, func(w io.Writer) error { return f.Seal(w, body) })
}

// Stage writes what is to take the place of the sealed file at path; see [Stage].
func (f Format) Stage(path string, body []byte) (*Staged, error) {
	return Stage(path, func(w io.Writer) error { return f.Seal(w, body) })
}
