package files

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	maxSumLine = maxPath + 256 // bytes
	minDigest  = 32            // hexadecimal digits: MD5
	maxDigest  = 128           // SHA-512
)

// ReadSums adds the files of a list in the format of sha256sum(1): a digest, a space, a space or an asterisk, and a
// path. A line that begins with a backslash has "\n", "\r" and "\\" in its path. Empty lines and those that begin with
// "#" are passed over; any other line is an error.
func ReadSums(r io.Reader, c *Collector) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxSumLine)
	number := 0
	for lines.Scan() {
		number++
		line := strings.TrimSuffix(lines.Text(), "\r")
		if line == "" || line[0] == '#' {
			continue
		}
		version, path, err := parseSum(line)
		if err == nil {
			err = c.Add(path, unknownSize, version)
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return fmt.Errorf("line %d: %w: longer than %d bytes", number+1, ErrListing, maxSumLine)
	}
	return lines.Err()
}

// parseSum takes a line apart. The version is the beginning of the digest.
func parseSum(line string) (version uint32, path string, err error) {
	rest, escaped := strings.CutPrefix(line, `\`)
	digest, path, ok := strings.Cut(rest, " ")
	_, notHex := hex.DecodeString(digest)
	if !ok || notHex != nil || len(digest) < minDigest || len(digest) > maxDigest || len(path) < 2 || path[0] != ' ' && path[0] != '*' {
		return 0, "", fmt.Errorf("%w: want a line of sha256sum, got %.100q", ErrListing, line)
	}
	path = strings.TrimPrefix(path[1:], "./")
	if escaped {
		path = strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\r`, "\r").Replace(path)
	}
	n, err := strconv.ParseUint(digest[:8], 16, 32)
	return uint32(n), path, err
}
