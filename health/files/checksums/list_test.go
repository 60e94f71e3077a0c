package checksums

import (
	"bufio"
	"bytes"
	"errors"
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	hexA = strings.Repeat("a1", 32)
	hexB = strings.Repeat("b2", 32)
	long = strings.Repeat("c3", 64)
)

func TestReadList(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		file, text string
		want       map[string]string
	}{
		"sha256sum":             {"stable/SHA256SUMS", hexA + "  x.img\n" + hexB + " *sub/y.img\n", map[string]string{"stable/x.img": hexA, "stable/sub/y.img": hexB}},
		"at the top":            {"SHA512SUMS", long + "  ./x.img\r\n", map[string]string{"x.img": long}},
		"sha256sum --tag":       {"a/SHA256SUMS", "SHA256 (x (1).img) = " + hexA + "\n", map[string]string{"a/x (1).img": hexA}},
		"a digest alone":        {"a/x.img.sha256", "\n" + hexA + " \n", map[string]string{"a/x.img": hexA}},
		"a file of its own":     {"a/x.img.sha256", hexA + "  x.img\n", map[string]string{"a/x.img": hexA}},
		"a signed list":         {"SHA256SUMS", "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n" + hexA + "  x\n-----BEGIN PGP SIGNATURE-----\n=abcd\n", map[string]string{"x": hexA}},
		"a path that climbs":    {"a/SHA256SUMS", hexA + "  ../../x\n" + hexB + "  ../y\n", map[string]string{"y": hexB}},
		"an escaped name":       {"SHA256SUMS", `\` + hexA + `  a\nb\\c` + "\n", map[string]string{"a\nb\\c": hexA}},
		"no escapes":            {"SHA256SUMS", hexA + `  a\nb` + "\n", map[string]string{`a\nb`: hexA}},
		"another tag":           {"SHA256SUMS", "SHA1 (x) = " + hexA + "\nSHA256 (y\nSHA256 () = " + hexA + "\n", map[string]string{}},
		"MD5":                   {"SHA256SUMS", strings.Repeat("d", 32) + "  x\n", map[string]string{}},
		"a digest alone, named": {"a/SHA256SUMS", hexA + "\n", map[string]string{}},
	}
	for name, test := range tests {
		got := map[string]string{}
		if err := readList(strings.NewReader(test.text), test.file, func(path string, sum Sum) { got[path] = sum.String() }); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
}

func TestReadLines(t *testing.T) {
	t.Parallel()
	tests := map[string]error{
		"# comment\n\n" + hexA + "  x\n":                  nil,
		hexA + " x\n":                                     ErrLine,
		"<html>\n":                                        ErrLine,
		strings.Repeat("a", 32) + "  md5\n":               nil,
		strings.Repeat("a", 30) + "  short\n":             ErrLine,
		strings.Repeat("a", 130) + "  long\n":             ErrLine,
		strings.Repeat("g", 64) + "  not hexadecimal\n":   ErrLine,
		hexA + "  " + strings.Repeat("x", maxLine) + "\n": ErrLine,
	}
	for text, want := range tests {
		if err := ReadLines(strings.NewReader(text), func(string, string) error { return nil }); !errors.Is(err, want) {
			t.Errorf("%.80q: %v, want %v", text, err, want)
		}
	}
}

// TestReadLinesNamesLines gives each line of files to its user, and says which line is wrong.
func TestReadLinesNamesLines(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"# comment\n" + hexA + "  x\n<html>\n":                      "x; line 3: not a line of sha256sum: \"<html>\"",
		hexA + " *y\n" + hexB + "  " + strings.Repeat("x", maxLine): "y; line 2: not a line of sha256sum: longer than 4352 bytes",
	} {
		got := ""
		err := ReadLines(strings.NewReader(text), func(_, path string) error { got += path + "; "; return nil })
		if got += err.Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestLongLine refuses a list with a line that no path needs.
func TestLongLine(t *testing.T) {
	t.Parallel()
	text := hexA + "  " + strings.Repeat("x", maxLine) + "\n"
	if err := readList(strings.NewReader(text), "SHA256SUMS", func(string, Sum) {}); !errors.Is(err, bufio.ErrTooLong) {
		t.Errorf("%v, want %v", err, bufio.ErrTooLong)
	}
}

// FuzzReadList wants nothing out of the tree, whatever a list says.
func FuzzReadList(f *testing.F) {
	f.Fuzz(func(t *testing.T, text []byte, file string) {
		if file = path.Clean(file); strings.HasPrefix(file, "..") || strings.HasPrefix(file, "/") {
			return
		}
		_ = readList(bytes.NewReader(text), file, func(path string, sum Sum) {
			if path == ".." || strings.HasPrefix(path, "../") || strings.HasPrefix(path, "/") {
				t.Errorf("%q leads to %q", file, path)
			}
			if again, ok := ParseSum(sum.String()); !ok || again != sum {
				t.Errorf("%s is read as %s", sum.String(), again.String())
			}
		})
	})
}
