package files

import (
	"cmp"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
)

const (
	maxShown   = 20 // files of a release in an overview
	maxMissing = 50 // mirrors that are named as lacking one of them
	maxNamedIn = 3  // files in a text on a mirror that is behind
)

// An Overview is what is known of the files of the pool at a moment.
type Overview struct {
	Origin        string                 `json:"origin"` // empty if there is none
	OriginRead    time.Time              `json:"origin_read,omitzero"`
	OriginProblem string                 `json:"origin_problem"` // why the origin could not be read the last time, or ""
	Files         int                    `json:"files"`          // of the universe
	Mirrors       map[string]MirrorFiles `json:"mirrors"`        // by url_prefix
	Release       ReleaseView            `json:"release"`
}

// MirrorFiles is what is known of the files of one mirror.
type MirrorFiles struct {
	Known     bool      `json:"known"` // by a listing that is not too old
	Listed    time.Time `json:"listed,omitzero"`
	Lacks     int       `json:"lacks"`      // files of the universe, those of another size included
	OtherSize int       `json:"other_size"` // of these
	Unknown   int       `json:"unknown"`    // files that are newer than the listing
	NoTimes   bool      `json:"no_times"`   // it does not keep the times of files
	Problem   string    `json:"problem"`    // why it could not be listed the last time, or ""
	// Behind names files of the release that it lacks; empty if it lacks none.
	Behind string `json:"behind"`
}

// A ReleaseView is the files that the origin has published of late, or while nothing is new, its newest.
type ReleaseView struct {
	Since    time.Time     `json:"since,omitzero"` // when the first of them was seen; zero if these are only the newest
	Count    int           `json:"count"`          // of files
	Complete int           `json:"complete"`       // enabled mirrors that carry all of them
	Weight   uint64        `json:"weight"`         // of these
	Enabled  int           `json:"enabled"`        // mirrors
	Whole    uint64        `json:"enabled_weight"`
	Files    []ReleaseFile `json:"files"` // some of them
}

// A ReleaseFile says how many mirrors carry a file.
type ReleaseFile struct {
	File
	Mirrors int      `json:"mirrors"`
	Weight  uint64   `json:"weight"`
	Missing []string `json:"missing"` // url_prefix of enabled mirrors that do not carry it, as far as is known
}

// Overview returns what is known of the files of the pool.
func (c *Catalog) Overview() Overview {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := Overview{
		Origin: c.settings.Origin, OriginRead: c.origin.read, OriginProblem: c.origin.problem, Files: c.universe.Len(),
		Mirrors: make(map[string]MirrorFiles, len(c.mirrors)),
	}
	t := c.table.Load()
	for number, m := range c.mirrors {
		if m != nil {
			o.Mirrors[m.URLPrefix] = c.mirrorFiles(m, t.rows[number])
		}
	}
	o.Release = c.releaseView()
	return o
}

// mirrorFiles describes a mirror. The row is nil if none counts.
func (c *Catalog) mirrorFiles(m *mirror, row *Row) MirrorFiles {
	f := MirrorFiles{Problem: m.problem}
	if m.row != nil {
		f.Listed = m.row.Listed
	}
	if row == nil {
		return f
	}
	f.Known, f.NoTimes = true, row.NoTimes
	f.OtherSize, f.Unknown = int(row.other.GetCardinality()), int(row.pending.GetCardinality())
	f.Lacks = c.universe.Len() - int(row.has.GetCardinality()) - f.Unknown
	f.Behind = c.release.behind(row, c.table.Load().dueFiles())
	return f
}

// behind names files of the release that are due and that the mirror of a row lacks, or returns "".
func (r *Release) behind(row *Row, due *roaring.Bitmap) string {
	lacks := roaring.AndNot(due, row.has)
	lacks.AndNot(row.pending)
	if lacks.IsEmpty() {
		return ""
	}
	var names []string
	for _, f := range r.Files {
		if lacks.Contains(f.number) {
			names = appendSome(names, f.Path)
		}
	}
	return lacksText(int(lacks.GetCardinality()), int(due.GetCardinality()), "files of the release", names)
}

// Behind returns what a mirror lacks of the release, and since when that was published; "" if it lacks nothing, or
// nothing is known of it.
func (c *Catalog) Behind(urlPrefix string) (what string, since time.Time) {
	c.mu.Lock()
	number, ok := c.numbers[urlPrefix]
	release, t := c.release, c.table.Load()
	c.mu.Unlock()
	if !ok || number >= len(t.rows) || t.rows[number] == nil {
		return "", since
	}
	return release.behind(t.rows[number], t.dueFiles()), release.Since
}

// ReleaseDigest is a digest of which files of the release a mirror carries. It is the same at each server that knows of
// the same; 0 if nothing is known of the mirror, or there is no release.
func (c *Catalog) ReleaseDigest(urlPrefix string) uint64 {
	c.mu.Lock()
	number, ok := c.numbers[urlPrefix]
	release, t := c.release, c.table.Load()
	c.mu.Unlock()
	if !ok || number >= len(t.rows) || t.rows[number] == nil || len(release.Files) == 0 {
		return 0
	}
	digest := uint64(1)
	for _, f := range release.Files {
		if t.rows[number].has.Contains(f.number) {
			digest += mix(hashPath(f.Path) ^ mix(uint64(f.Size)))
		}
	}
	return max(digest, 1)
}

// LookAt has mirrors listed soon, if they lack files of the release as far as is known here: another watcher knows
// otherwise. It does so of one at most ten times in an interval, whatever other watchers say.
func (c *Catalog) LookAt(prefixes []string) {
	if len(prefixes) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, prefix := range prefixes {
		number, ok := c.numbers[prefix]
		if !ok || c.mirrors[number] == nil {
			continue
		}
		if m := c.mirrors[number]; c.Now().Sub(m.looked) >= max(maxPause, c.settings.Interval/10) {
			m.looked = c.Now()
			m.plan.pull(m.looked, false)
		}
	}
	c.hurry()
}

// releaseView describes the release.
func (c *Catalog) releaseView() ReleaseView {
	files, all := c.releaseFiles()
	v := ReleaseView{Count: int(all.GetCardinality()), Files: []ReleaseFile{}}
	if c.release.numbers != nil && !c.release.numbers.IsEmpty() {
		v.Since = c.release.Since
	}
	for _, m := range c.mirrors {
		if m == nil || !m.Enabled {
			continue
		}
		v.Enabled++
		v.Whole += uint64(m.Weight)
		if m.row != nil && !all.IsEmpty() && roaring.AndNot(all, m.row.has).IsEmpty() {
			v.Complete++
			v.Weight += uint64(m.Weight)
		}
	}
	for _, f := range files[:min(len(files), maxShown)] {
		shown := ReleaseFile{File: f.File, Missing: []string{}}
		for _, m := range c.mirrors {
			switch {
			case m == nil || !m.Enabled:
			case m.row != nil && m.row.has.Contains(f.number):
				shown.Mirrors++
				shown.Weight += uint64(m.Weight)
			default:
				if len(shown.Missing) < maxMissing {
					shown.Missing = append(shown.Missing, m.URLPrefix)
				}
			}
		}
		v.Files = append(v.Files, shown)
	}
	return v
}

// releaseFiles returns the files of the release, the newest first, or where there is none, the newest of all.
func (c *Catalog) releaseFiles() ([]NumberedFile, *roaring.Bitmap) {
	files, all := c.allReleaseFiles()
	mirrored := all.Clone()
	files = slices.DeleteFunc(files, func(f NumberedFile) bool {
		unmirrored := c.settings.Unmirrored.Match(f.Path)
		if unmirrored {
			mirrored.Remove(f.number)
		}
		return unmirrored
	})
	return files, mirrored
}

// allReleaseFiles are those, and those that no mirror is asked for.
func (c *Catalog) allReleaseFiles() ([]NumberedFile, *roaring.Bitmap) {
	if c.release.numbers != nil && !c.release.numbers.IsEmpty() {
		files := slices.SortedFunc(slices.Values(c.release.Files), func(a, b NumberedFile) int {
			return cmp.Or(cmp.Compare(b.Time, a.Time), cmp.Compare(a.Path, b.Path))
		})
		return files, c.release.numbers
	}
	var files []NumberedFile
	all := roaring.New()
	for _, f := range c.newest {
		if number, ok := c.universe.find(hashPath(f.Path)); ok {
			files = append(files, NumberedFile{f, number})
			all.Add(number)
		}
	}
	return files, all
}
