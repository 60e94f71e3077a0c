package source

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"mirrorpool/config/statefile"
)

const (
	keptName   = "mirrors.kept"
	keptMagic  = "mirrorpool-kept-1"
	maxKept    = maxListSize + 4*maxSignatureSize + 16<<10
	magicBytes = len(keptMagic) + 1 + 2*sha256.Size + 1
)

// A kept is a list that was accepted, with where and when.
//
// Its file is made to be read by people too: a line with a checksum of all that follows, a line of JSON, and
// then the list as its source had it.
type kept struct {
	Source    string    `json:"source"`
	Accepted  time.Time `json:"accepted"`
	Signature []byte    `json:"signature,omitempty"`
	list      []byte
}

// document gives what was kept in the form in which it was fetched.
func (k *kept) document(signed bool) *document {
	d := &document{list: &part{data: k.list}}
	if signed {
		d.signature = &part{data: k.Signature}
	}
	return d
}

// encodeKept gives the contents of a kept file.
func encodeKept(k *kept) ([]byte, error) {
	header, err := json.Marshal(k)
	if err != nil {
		return nil, err
	}
	return seal(append(append(header, '\n'), k.list...)), nil
}

// seal puts the first line before body.
func seal(body []byte) []byte {
	sum := sha256.Sum256(body)
	return append([]byte(keptMagic+" "+hex.EncodeToString(sum[:])+"\n"), body...)
}

// decodeKept reads the contents of a kept file. Whatever is not exactly what was written is an error.
func decodeKept(data []byte) (*kept, error) {
	if len(data) < magicBytes || !bytes.HasPrefix(data, []byte(keptMagic+" ")) {
		return nil, fmt.Errorf("it does not begin with %q and a checksum", keptMagic)
	}
	body := data[magicBytes:]
	if !bytes.Equal(data, seal(body)) {
		return nil, errors.New("its checksum does not match")
	}
	header, list, ok := bytes.Cut(body, []byte("\n"))
	if !ok {
		return nil, errors.New("it has no list")
	}
	k := &kept{}
	decoder := json.NewDecoder(bytes.NewReader(header))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(k); err != nil {
		return nil, fmt.Errorf("its header is not valid: %v", err)
	}
	k.list = list
	return k, nil
}

// loadKept reads the kept list from dir. It returns nil if there is none; one that cannot be used is set aside.
func loadKept(dir string) (k *kept, err error) {
	err = statefile.Load(filepath.Join(dir, keptName), func(r io.Reader) error {
		data, err := io.ReadAll(io.LimitReader(r, maxKept+1))
		if err != nil {
			return err
		}
		if len(data) > maxKept {
			return errors.New("it is too large")
		}
		k, err = decodeKept(data)
		return err
	})
	return k, err
}

// saveKept writes k to dir, where nobody else may read it: the list has e-mail addresses.
func saveKept(dir string, k *kept) error {
	data, err := encodeKept(k)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return statefile.Replace(filepath.Join(dir, keptName), func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}
