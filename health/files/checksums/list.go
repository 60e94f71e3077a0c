package checksums

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

const (
	maxLine   = 4<<10 + 256 // bytes
	minDigest = 32          // hexadecimal digits: MD5
	maxDigest = 128         // SHA-512
)

// ErrLine is why a list is refused: it is not one of checksums.
var ErrLine = errors.New("not a line of sha256sum")

// ReadLines calls each with the digest, in hexadecimal digits, and the path of each line of a list in the format of
// sha256sum(1): a digest, a space, a space or an asterisk, and a path. A line that begins with a backslash has "\n",
// "\r" and "\\" in its path. Empty lines and those that begin with "#" are passed over. Any other line is an error, and
// so is one that each returns.
func ReadLines(r io.Reader, each func(digest, path string) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	number := 0
	for lines.Scan() {
		number++
		line := strings.TrimSuffix(lines.Text(), "\r")
		if line == "" || line[0] == '#' {
			continue
		}
		digest, path, err := parseLine(line)
		if err == nil {
			err = each(digest, path)
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return fmt.Errorf("line %d: %w: longer than %d bytes", number+1, ErrLine, maxLine)
	}
	return lines.Err()
}

// parseLine takes a line apart.
func parseLine(line string) (digest, path string, err error) {
	rest, escaped := strings.CutPrefix(line, `\`)
	digest, path, ok := strings.Cut(rest, " ")
	if !ok || !isDigest(digest) || len(path) < 2 || path[0] != ' ' && path[0] != '*' {
		return "", "", fmt.Errorf("%w: %.100q", ErrLine, line)
	}
	path = strings.TrimPrefix(path[1:], "./")
	if escaped {
		path = strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\r`, "\r").Replace(path)
	}
	return digest, path, nil
}

func isDigest(text string) bool {
	_, err := hex.DecodeString(text)
	return err == nil && len(text) >= minDigest && len(text) <= maxDigest
}

// suffixes are those of files that hold the checksum of the file without the suffix.
var suffixes = [...]string{".sha256", ".sha512", ".sha256sum", ".sha512sum"}

// isList reports whether a file is a list of checksums, by its name.
func isList(file string) bool {
	base := path.Base(file)
	for _, name := range [...]string{"SHA256SUMS", "SHA512SUMS", "SHA256SUMS.txt", "SHA512SUMS.txt"} {
		if base == name {
			return true
		}
	}
	return subjectOf(file) != ""
}

// subjectOf returns the file whose checksum the file at a path holds, by its name, or "".
func subjectOf(file string) string {
	for _, suffix := range suffixes {
		if subject, ok := strings.CutSuffix(file, suffix); ok {
			return subject
		}
	}
	return ""
}

// readList calls each with the checksums in a list at a path of the origin, and the paths of their files. The paths in
// a list are relative to its folder. It takes the lines of sha256sum(1), with --tag too, and in a file such as
// x.img.sha256 a digest alone. Lines of another form are passed over, as those of a signature around the list.
func readList(r io.Reader, file string, each func(path string, sum Sum)) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	folder := path.Dir(file)
	for lines.Scan() {
		line := strings.TrimSuffix(lines.Text(), "\r")
		digest, name, err := parseLine(line)
		if err != nil {
			digest, name = parseTagged(line)
		}
		below := path.Join(folder, name)
		if name == "" {
			digest, below = strings.TrimSpace(line), subjectOf(file)
		}
		if sum, ok := ParseSum(digest); ok && below != "" && !strings.HasPrefix(below, "../") {
			each(below, sum)
		}
	}
	return lines.Err()
}

// parseTagged takes apart a line like "SHA256 (x.img) = 01ab...". Both results are empty for another line.
func parseTagged(line string) (digest, path string) {
	for _, tag := range [...]string{"SHA256 (", "SHA512 ("} {
		if rest, ok := strings.CutPrefix(line, tag); ok {
			if end := strings.LastIndex(rest, ") = "); end >= 0 {
				return strings.TrimSpace(rest[end+len(") = "):]), strings.TrimPrefix(rest[:end], "./")
			}
		}
	}
	return "", ""
}
