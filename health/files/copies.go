package files

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
)

// States of a mirror's copy of a file.
const (
	CopyHas     = "has"
	CopyLacking = "lacks"
	CopyOther   = "other size" // or, of a file that is rewritten in place, another time
	CopyCorrupt = "corrupt"    // its bytes are wrong: see Catalog.Withhold
	CopyUnknown = "not known"
)

// A Copy says whether a mirror has a file.
type Copy struct {
	State string    `json:"file"`
	Since time.Time `json:"file_since,omitzero"` // when that was found out; zero if it is not known
}

// A FileStatus says which mirrors carry the file at a path.
type FileStatus struct {
	Path      string       `json:"path"`      // below the mirrors' url_prefix
	Published bool         `json:"published"` // the origin has it, as far as is known
	Mirrors   []FileMirror `json:"mirrors"`   // the enabled ones, in the order of the list
}

// A FileMirror says whether a mirror has a file, and may be redirected to.
type FileMirror struct {
	URLPrefix string `json:"url_prefix"`
	Weight    uint32 `json:"weight"`
	Eligible  bool   `json:"eligible"`
	Copy
}

// Copies returns how the file at a path is with each mirror of the pool, by url_prefix; nil if nothing tells of such a
// file.
func (c *Catalog) Copies(path string) map[string]Copy {
	now := c.Now()
	k := c.Find(path, now)
	if k.Status != Published && isEmpty(k.Has) {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	answered := c.answers.times(k.hash)
	copies := make(map[string]Copy, len(c.mirrors))
	for number, m := range c.mirrors {
		if m == nil {
			continue
		}
		copy := Copy{CopyLacking, answered[number]}
		switch {
		case Contains(k.Has, number):
			copy.State = CopyHas
		case slices.Contains(c.corrupt[k.hash], number):
			copy.State = CopyCorrupt
		case Contains(k.Unknown, number):
			copies[m.URLPrefix] = Copy{State: CopyUnknown}
			continue
		case k.Status == Published && m.row != nil && m.row.other.Contains(k.number):
			copy.State = CopyOther
		}
		if m.row != nil && copy.Since.Before(m.row.seen) && k.Status == Published {
			copy.Since = m.row.seen
		}
		copies[m.URLPrefix] = copy
	}
	return copies
}

// times returns when mirrors were asked for a file, by number.
func (a *answers) times(path uint64) map[int]time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	times := map[int]time.Time{}
	for _, said := range a.byPath[path] {
		times[said.mirror] = said.until.Add(-said.kept)
	}
	return times
}

// A MirrorLacks names files that a mirror lacks.
type MirrorLacks struct {
	URLPrefix string `json:"url_prefix"`
	Count     int    `json:"count"`
	Files     []Lack `json:"files"`   // as far as their names are known
	Problem   string `json:"problem"` // why not all are named, or nothing is known; or ""
}

// A Lack is a file that a mirror lacks.
type Lack struct {
	File
	State string `json:"state"` // as of a Copy
}

// Lacks names the files that a mirror lacks, and tells how many they are. The universe holds no names: the origin is
// read for them, unless all are of the release.
func (c *Catalog) Lacks(ctx context.Context, urlPrefix string) (named []Lack, count int, err error) {
	c.mu.Lock()
	row, u, origin := c.rowOf(urlPrefix), c.universe, c.settings.Origin
	into := &Collector{HasTimes: u.HasTimes, before: &Universe{}, rewritten: c.settings.Rewritten}
	for _, f := range c.release.Files {
		into.news = append(into.news, f.File)
	}
	c.mu.Unlock()
	if row == nil {
		return nil, 0, errors.New("nothing is known of this mirror's files: it has no rsync_url, or could not be listed")
	}
	lacks := roaring.AndNot(u.regular(), row.has)
	count = int(lacks.GetCardinality())
	named = row.name(u, lacks, into.news)
	if len(named) == count || origin == "" {
		return named, count, nil
	}
	all := &Collector{Anew: true, before: u, rewritten: into.rewritten, wanted: lacks}
	if err := c.ReadOrigin(ctx, origin, all); err != nil && !errors.Is(err, ErrUnchanged) {
		return named, count, fmt.Errorf("cannot read the names of all of them from files.origin: %w", err)
	}
	return row.name(u, lacks, append(into.news, all.news...)), count, nil
}

// rowOf returns the row of a mirror, or nil.
func (c *Catalog) rowOf(urlPrefix string) *Row {
	number, ok := c.numbers[urlPrefix]
	if !ok || c.mirrors[number] == nil {
		return nil
	}
	return c.mirrors[number].row
}

// regular returns the numbers of all files.
func (u *Universe) regular() *roaring.Bitmap {
	b := roaring.New()
	for i := range u.files {
		if k := u.files[i].kind; k == regular || k == rewritten {
			b.Add(uint32(i))
		}
	}
	return b
}

// name returns those of some files that are among the lacking ones, by path.
func (r *Row) name(u *Universe, lacks *roaring.Bitmap, from []File) []Lack {
	named := map[string]Lack{}
	for _, f := range from {
		number, ok := u.find(hashPath(f.Path))
		if !ok || !lacks.Contains(number) {
			continue
		}
		lack := Lack{f, CopyLacking}
		switch {
		case r.other.Contains(number):
			lack.State = CopyOther
		case r.pending.Contains(number):
			lack.State = CopyUnknown
		}
		named[f.Path] = lack
	}
	list := make([]Lack, 0, len(named))
	for _, lack := range named {
		list = append(list, lack)
	}
	slices.SortFunc(list, func(a, b Lack) int {
		if a.Path < b.Path {
			return -1
		}
		return 1
	})
	return list
}

// Complete returns how many mirrors that clients may be sent to carry all of some files, and their share of the enabled
// weight.
func Complete(list []FileStatus) (mirrors int, share float64) {
	if len(list) == 0 {
		return 0, 0
	}
	have := map[string]int{}
	for i := range list {
		for _, m := range list[i].Mirrors {
			if m.State == CopyHas && m.Eligible {
				have[m.URLPrefix]++
			}
		}
	}
	var weight, all float64
	for _, m := range list[0].Mirrors {
		all += float64(m.Weight)
		if have[m.URLPrefix] == len(list) {
			mirrors++
			weight += float64(m.Weight)
		}
	}
	if all > 0 {
		share = weight / all
	}
	return mirrors, share
}
