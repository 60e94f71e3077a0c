package files

import (
	"context"
	"errors"
	"fmt"
)

// A Tree is what a mirror lists, to be compared with what the origin publishes.
type Tree struct {
	collector Collector
	files     *Universe

	published, lacking int
	lacks              []string // some of those
	sameTime           int      // files of the right size, by whether their time is the origin's
	otherTime          int
	outdated           int // of these, files that are rewritten in place
	outdatedNames      []string
}

// Add takes in a file that the mirror lists. The error says why the whole list must not be used.
func (t *Tree) Add(path string, size int64, modified uint32) error {
	return t.collector.Add(path, size, modified)
}

// Compare compares mirrors' trees with what the origin publishes, which read reads once.
func Compare(ctx context.Context, rewritten Patterns, read func(context.Context, *Collector) error, trees []*Tree) error {
	for _, t := range trees {
		t.files, _ = (&Universe{}).update(sortRecords(t.collector.records), true)
		t.collector.records = nil
	}
	origin := &Collector{Anew: true, rewritten: rewritten}
	origin.each = func(path string, f *file) {
		for _, t := range trees {
			t.compare(path, f, origin.HasTimes)
		}
	}
	if err := read(ctx, origin); err != nil && !errors.Is(err, ErrUnchanged) {
		return err
	}
	if origin.Len() == 0 {
		return errors.New("it lists no files")
	}
	return nil
}

// compare takes in a file of the origin.
func (t *Tree) compare(path string, f *file, hasTimes bool) {
	t.published++
	number, ok := t.files.find(hashPath(path))
	switch {
	case !ok, !f.fits(t.files.files[number].size):
		t.lacking++
		t.lacks = appendSome(t.lacks, path)
	case !hasTimes:
	case sameTime(f.version, t.files.files[number].version):
		t.sameTime++
	default:
		t.otherTime++
		if f.kind == rewritten {
			t.outdated++
			t.outdatedNames = appendSome(t.outdatedNames, path)
		}
	}
}

// appendSome appends a name, unless there are enough for a text.
func appendSome(names []string, name string) []string {
	if len(names) < maxNamedIn {
		names = append(names, name)
	}
	return names
}

// A Comparison is what a mirror lacks of what the origin publishes. Another size counts as lacking, and of a file that
// is rewritten in place another time.
type Comparison struct {
	Published int
	Lacking   int
	Names     []string // of some that it lacks
}

// Comparison returns what came of [Compare].
func (t *Tree) Comparison() Comparison {
	c := Comparison{t.published, t.lacking, t.lacks}
	if t.otherTime <= t.sameTime { // it keeps times
		c.Lacking += t.outdated
		for _, name := range t.outdatedNames {
			c.Names = appendSome(c.Names, name)
		}
	}
	return c
}

// String says "lacks 3 of 412 files, stable/x.iso among them".
func (c *Comparison) String() string {
	if c.Lacking == 0 {
		return fmt.Sprintf("has all %d files", c.Published)
	}
	return lacksText(c.Lacking, c.Published, "files", c.Names)
}

// lacksText says that a mirror lacks some of so many files.
func lacksText(count, of int, what string, names []string) string {
	text := fmt.Sprintf("lacks %d of %d %s", count, of, what)
	for _, name := range names {
		text += ", " + name
	}
	if len(names) > 0 && len(names) < count {
		text += " among them"
	}
	return text
}
