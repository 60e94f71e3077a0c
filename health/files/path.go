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

// Match reports whether one of the patterns is for a path.
func (p Patterns) Match(file string) bool {
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

// A Matcher is patterns in a form that is fast to look up. It is not changed once made.
type Matcher struct {
	suffixes, prefixes []string // of the last element of a path
	others             Patterns
}

// Compile returns the patterns as a Matcher.
func (p Patterns) Compile() *Matcher {
	m := &Matcher{}
	const special = `*?[\\/`
	for _, pattern := range p {
		if suffix, ok := strings.CutPrefix(pattern, "*"); ok && !strings.ContainsAny(suffix, special) {
			m.suffixes = append(m.suffixes, suffix)
		} else if prefix, ok := strings.CutSuffix(pattern, "*"); ok && !strings.ContainsAny(prefix, special) {
			m.prefixes = append(m.prefixes, prefix)
		} else {
			m.others = append(m.others, pattern)
		}
	}
	return m
}

// Match is that of [Patterns].
func (m *Matcher) Match(file string) bool {
	base := file[strings.LastIndexByte(file, '/')+1:]
	for _, suffix := range m.suffixes {
		if strings.HasSuffix(base, suffix) {
			return true
		}
	}
	for _, prefix := range m.prefixes {
		if strings.HasPrefix(base, prefix) {
			return true
		}
	}
	return m.others.Match(file)
}
