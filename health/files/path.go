package files

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/cespare/xxhash/v2"
)

const (
	// MaxFiles bounds a universe, and the entries of a listing.
	MaxFiles = 5_000_000

	maxPath = 4 << 10 // bytes; MAXPATHLEN on Linux
)

// ErrListing is why a list of files is refused as a whole: no honest source sends one like it.
var ErrListing = errors.New("refused the list of files")

// hashPath returns the number that stands for a path. Two of 2,000,000 paths share one with a probability of 1 in 10
// million.
func hashPath(path string) uint64 { return xxhash.Sum64String(path) }

// checkPath says whether a path, as a source sends it, is one that a client can ask for. The error is for paths that no
// honest source sends.
func checkPath(path string) (usable bool, err error) {
	switch {
	case len(path) > maxPath:
		return false, fmt.Errorf("%w: a path of %d bytes, more than %d", ErrListing, len(path), maxPath)
	case strings.HasPrefix(path, "/"):
		return false, fmt.Errorf("%w: an absolute path, %.100q", ErrListing, path)
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == ".." {
			return false, fmt.Errorf("%w: a path that climbs, %.100q", ErrListing, path)
		}
		usable = segment != "" && segment != "."
		if !usable {
			return false, nil
		}
	}
	for i := range len(path) {
		if path[i] < ' ' || path[i] == 0x7f { // the redirector refuses such paths
			return false, nil
		}
	}
	return true, nil
}

// Patterns are the patterns of files that are rewritten in place. One without a slash is for the last element of a path
// (path.Match), one with a slash for the whole path; one that ends in a slash is for all below that folder.
type Patterns []string

// match reports whether one of the patterns is for a path.
func (p Patterns) match(file string) bool {
	for _, pattern := range p {
		if strings.HasSuffix(pattern, "/") {
			if strings.HasPrefix(file, pattern) {
				return true
			}
			continue
		}
		subject := file
		if !strings.Contains(pattern, "/") {
			subject = path.Base(file)
		}
		if ok, err := path.Match(pattern, subject); ok && err == nil {
			return true
		}
	}
	return false
}
