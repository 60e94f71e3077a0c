package health

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// writeSealed writes value as JSON behind a line that tells what it is, its format's version and its checksum. The checksum
// is for a file that was cut or edited, not against an attacker.
func writeSealed(w io.Writer, kind string, version int, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "%s %d sha256:%x\n", kind, version, sha256.Sum256(body)); err != nil {
		return err
	}
	_, err = w.Write(body)
	return err
}

// readSealed reads into value what writeSealed has written, of at most so many bytes.
func readSealed(r io.Reader, kind string, version int, most int64, value any) error {
	body, err := unseal(r, kind, version, most)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, value)
}

// unseal reads a file of at most so many bytes, and returns what is behind its first line. The error says if it is of another
// kind or version, or not as it was written.
func unseal(r io.Reader, kind string, version int, most int64) (body []byte, err error) {
	in := bufio.NewReader(io.LimitReader(r, most+1))
	header, err := in.ReadSlice('\n')
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
		return nil, err
	}
	header = bytes.Clone(header)
	body, err = io.ReadAll(in)
	switch {
	case err != nil:
		return nil, err
	case int64(len(body)) > most:
		return nil, fmt.Errorf("more than %d bytes", most)
	case !bytes.HasPrefix(header, []byte(kind+" ")):
		return nil, errors.New("not a file of " + kind)
	case !bytes.HasPrefix(header, fmt.Appendf(nil, "%s %d ", kind, version)):
		return nil, errors.New("saved by another version of mirrorpool")
	case string(header) != fmt.Sprintf("%s %d sha256:%x\n", kind, version, sha256.Sum256(body)):
		return nil, errors.New("checksum does not match")
	}
	return body, nil
}
