package redirector

import (
	"errors"
	"net/url"
	"strings"
)

// maxUnescape is how many layers of percent-encoding are looked through. A mirror's software may take off
// more than one; no client has a reason to send more than two.
const maxUnescape = 4

// wellKnown is the folder in which a host answers for itself (RFC 8615). A mirror that could answer there in the
// redirector's stead would get certificates for the redirector's name (RFC 8555 section 8.3).
const wellKnown = ".well-known"

var (
	errMalformed = errors.New("malformed path")
	errForbidden = errors.New("forbidden path")
)

// requestPath returns a URL's path without what servers ignore in it: "//a/./b" is "/a/b". It keeps each escape as the
// client wrote it, and escapes what must not stand in a URL.
func requestPath(u *url.URL) string {
	if u.RawPath == "" {
		return collapse(u.EscapedPath())
	}
	return collapse(percentEncode(u.RawPath, inPath))
}

// collapse takes empty and "." segments out of an escaped path.
func collapse(path string) string {
	if !strings.HasPrefix(path, "/") || !strings.Contains(path, "//") && !strings.Contains(path, "/.") && !strings.Contains(path, "/%") {
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
// It returns errMalformed for what is not a path, and errForbidden for one that a mirror's server might take for
// something outside url_prefix, and for all below [wellKnown]. Percent-encoding does not hide either.
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
// or begins with an empty segment, which names a host, or with [wellKnown].
func checkLayer(path string) error {
	for i := range len(path) {
		if c := path[i]; c < ' ' || c == 0x7f || c == '\\' {
			return errForbidden
		}
	}
	front := true // no segment so far has a name
	for segment, rest, more := strings.Cut(path[1:], "/"); ; segment, rest, more = strings.Cut(rest, "/") {
		// Some servers cut parameters off a segment, so that "..;x" is ".." to them.
		name, _, _ := strings.Cut(segment, ";")
		if name == ".." || front && (segment == "" && more || isWellKnown(name)) {
			return errForbidden
		}
		if !more {
			return nil
		}
		front = front && (name == "" || name == ".")
	}
}

// isWellKnown reports whether a server might take a segment for [wellKnown]: some ignore case, and what a name ends in.
func isWellKnown(name string) bool {
	return strings.EqualFold(strings.TrimRight(name, ". "), wellKnown)
}

// unescape takes one layer of percent-encoding off. It leaves a percent sign that begins no escape as it is.
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

// percentEncode escapes all bytes that keep does not keep.
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

// inQuery reports whether c may stand in a query in a header. Some of what RFC 3986 does not have, browsers send as it is.
func inQuery(c byte) bool {
	return c > ' ' && c < 0x7f && c != '"' && c != '<' && c != '>' && c != '\\'
}

// inPath reports whether c may stand in a path, brackets too (RFC 3986 section 3.3).
func inPath(c byte) bool {
	return inQuery(c) && c != '^' && c != '`' && c != '{' && c != '|' && c != '}'
}
