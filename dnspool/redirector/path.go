package redirector

import (
	"errors"
	"net/url"
	"strings"
)

// maxUnescape is how many layers of percent-encoding are looked through. A mirror's software may take off
// more than one; nobody has a reason to send more than two.
const maxUnescape = 4

var (
	errMalformed = errors.New("malformed path")
	errForbidden = errors.New("forbidden path")
)

// cleanPath checks an escaped request path and returns it without basePath, which begins and ends with a
// slash, and without leading slashes: byte for byte what follows a mirror's url_prefix.
//
// It returns errMalformed for what is not a path, and errForbidden for one that a mirror's server might
// take for something outside url_prefix: "." and ".." segments, backslashes, empty segments in front, and
// control characters, each also if it hides behind percent-encoding.
func cleanPath(escaped, basePath string) (string, error) {
	rest, ok := strings.CutPrefix(escaped, basePath)
	switch {
	case !strings.HasPrefix(escaped, "/"):
		return "", errMalformed
	case !ok:
		return "", errForbidden
	}
	whole := escaped[len(basePath)-1:] // rest, with the slash before it
	layer := whole
	for range maxUnescape {
		if err := checkLayer(layer); err != nil {
			return "", err
		}
		next, err := url.PathUnescape(layer)
		switch {
		case err != nil && layer == whole:
			return "", errMalformed
		case err != nil, next == layer:
			return rest, nil // a lone percent sign below a layer of encoding is just that
		}
		layer = next
	}
	return "", errForbidden
}

// checkLayer refuses a path, at one layer of its encoding, for cleanPath's reasons.
func checkLayer(path string) error {
	if strings.HasPrefix(path, "//") {
		return errForbidden
	}
	for i := range len(path) {
		if c := path[i]; c < ' ' || c == 0x7f || c == '\\' {
			return errForbidden
		}
	}
	for segment := range strings.SplitSeq(path, "/") {
		// Some servers cut parameters off a segment, so that "..;x" is ".." to them.
		name, _, _ := strings.Cut(segment, ";")
		if name == "." || name == ".." {
			return errForbidden
		}
	}
	return nil
}
