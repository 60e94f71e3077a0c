package watch

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"

	"mirrorpool/config/safefile"
)

const (
	keyBytes   = 32 // AES-256
	maxKeys    = 8
	maxKeyFile = 4096 // bytes
)

// ReadKeys reads the keys of the group from a file: one in each line, 32 bytes in base64, as `openssl rand -base64
// 32` prints them. The file must pass [safefile.ReadSecret]. The first one encrypts what this watcher sends. With the
// others it reads what those send that have not changed to the first yet.
func ReadKeys(path string) ([][]byte, error) {
	text, err := safefile.ReadSecret(path, maxKeyFile)
	if err != nil {
		return nil, err
	}
	keys, err := parseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return keys, nil
}

// parseKeys reads the text of a key file. No error quotes it.
func parseKeys(text []byte) ([][]byte, error) {
	var keys [][]byte
	number := 0
	for line := range bytes.Lines(text) {
		number++
		if line = bytes.TrimSpace(line); len(line) == 0 || line[0] == '#' {
			continue
		}
		key, err := base64.StdEncoding.DecodeString(string(line))
		if err != nil || len(key) != keyBytes {
			return nil, fmt.Errorf("line %d is no key: want %d bytes in base64, as \"openssl rand -base64 %d\" prints them",
				number, keyBytes, keyBytes)
		}
		keys = append(keys, key)
	}
	switch {
	case len(keys) == 0:
		return nil, fmt.Errorf("no key: make one with \"openssl rand -base64 %d\"", keyBytes)
	case len(keys) > maxKeys:
		return nil, errors.New("too many keys: remove those that no watcher uses any more")
	}
	return keys, nil
}
