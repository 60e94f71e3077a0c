package redirector

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// maxUnescape is how many layers of percent-encoding are decoded to look for dangerous paths. A mirror's software may
// decode more than one; no client has a reason to send more than two.
const maxUnescape = 4

// wellKnown is the folder for metadata of a host (RFC 8615). A mirror that could answer there for the redirector could
// get certificates for the redirector's name (RFC 8555 section 8.3).
const wellKnown = ".well-known"

var (
	errMalformed = errors.New("malformed path")
	errForbidden = errors.New("forbidden path")
)

// requestPath returns a URL's path without the empty and "." segments that servers ignore: "//a/./b" becomes "/a/b". It
// keeps each escape as the client wrote it, and escapes bytes that are not allowed in a URL.
func requestPath(u *url.URL) string {
	if u.RawPath == "" {
		return collapse(u.EscapedPath())
	}
	return collapse(percentEncode(u.RawPath, inPath))
}

// collapse removes empty and "." segments from an escaped path.
func collapse(path string) string {
	has := func(text string) bool { return strings.Contains(path, text) }
	if !strings.HasPrefix(path, "/") || !has("//") && !has("/.") && !has("/%") {
		return path
	}
	var kept strings.Builder
	kept.Grow(len(path))
	folder := true
	for segment := range strings.SplitSeq(path, "/") {
		if folder = segment == "" || segment == "." || strings.EqualFold(segment, "%2e"); !folder {
			kept.WriteByte('/')
			kept.WriteString(segment)
		}
	}
	if folder {
		kept.WriteByte('/')
	}
	return kept.String()
}

// cleanPath checks a path that [requestPath] returned, and returns it without basePath, which begins and ends with a
// slash: byte for byte what follows a mirror's url_prefix.
//
// It returns errMalformed for anything that is not a path, and errForbidden for a path that a mirror's server might
// resolve outside url_prefix, or that is below [wellKnown]. Percent-encoding hides neither.
func cleanPath(path, basePath string) (string, error) {
	rest, ok := strings.CutPrefix(path, basePath)
	switch {
	case !strings.HasPrefix(path, "/"):
		return "", errMalformed
	case !ok, checkLayer(basePath) != nil:
		return "", errForbidden
	}
	layer := path[len(basePath)-1:] // rest, with the slash before it
	if _, err := url.PathUnescape(layer); err != nil {
		return "", errMalformed
	}
	for range maxUnescape {
		if err := checkLayer(layer); err != nil {
			return "", err
		}
		next := unescape(layer)
		if next == layer {
			return rest, nil
		}
		layer = next
	}
	return "", errForbidden
}

// checkLayer refuses a path, at one layer of its encoding, that has a ".." segment, a backslash or a control character,
// or begins with [wellKnown] or with an empty segment, which some clients take for the start of a host name.
func checkLayer(path string) error {
	for i := range len(path) {
		if c := path[i]; c < ' ' || c == 0x7f || c == '\\' {
			return errForbidden
		}
	}
	first := true // no segment with a name so far
	for segment, rest, more := strings.Cut(path[1:], "/"); ; segment, rest, more = strings.Cut(rest, "/") {
		// Some servers cut parameters off a segment, so that "..;x" is ".." to them, and some clients a fragment.
		name := segment
		if i := strings.IndexAny(segment, ";#?"); i >= 0 {
			name = segment[:i]
		}
		if name == ".." || first && (segment == "" && more || isWellKnown(name)) {
			return errForbidden
		}
		if !more {
			return nil
		}
		first = first && (name == "" || name == ".")
	}
}

// CheckBasePath returns an error if each path below a base path is refused.
func CheckBasePath(basePath string) error {
	if basePath != "" && checkLayer(basePath) != nil {
		return fmt.Errorf("http.base_path is %q: every path below it gets 404, as it leads out of a folder or is reserved (RFC 8615)", basePath)
	}
	return nil
}

// isWellKnown reports whether a server might take a segment for [wellKnown]: some ignore case, and trailing dots and
// spaces.
func isWellKnown(name string) bool {
	return strings.EqualFold(strings.TrimRight(name, ". "), wellKnown)
}

// unescape decodes one layer of percent-encoding. It keeps a percent sign that begins no escape.
func unescape(text string) string {
	i := strings.IndexByte(text, '%')
	if i < 0 {
		return text
	}
	plain := []byte(text[:i])
	for ; i < len(text); i++ {
		if high, low := hexDigit(text, i+1), hexDigit(text, i+2); text[i] == '%' && high >= 0 && low >= 0 {
			plain = append(plain, byte(high<<4|low))
			i += 2
		} else {
			plain = append(plain, text[i])
		}
	}
	return string(plain)
}

// hexDigit returns the value of the digit at i, or -1 if there is none.
func hexDigit(text string, i int) int {
	if i >= len(text) {
		return -1
	}
	switch c := text[i]; {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

// percentEncode escapes all bytes for which keep returns false.
func percentEncode(raw string, keep func(byte) bool) string {
	i := 0
	for i < len(raw) && keep(raw[i]) {
		i++
	}
	if i == len(raw) {
		return raw
	}
	const digits = "0123456789ABCDEF"
	text := []byte(raw[:i])
	for ; i < len(raw); i++ {
		if c := raw[i]; keep(c) {
			text = append(text, c)
		} else {
			text = append(text, '%', digits[c>>4], digits[c&15])
		}
	}
	return string(text)
}

// inQuery reports whether c may stand in the query of a Location. Browsers send some characters unescaped that RFC 3986
// does not allow. A number sign would begin a fragment, which no client sends.
func inQuery(c byte) bool {
	return c > ' ' && c < 0x7f && c != '"' && c != '<' && c != '>' && c != '\\' && c != '#'
}

// inPath reports whether c may stand in a path, brackets too (RFC 3986 section 3.3).
func inPath(c byte) bool {
	return inQuery(c) && c != '^' && c != '`' && c != '{' && c != '|' && c != '}'
}
