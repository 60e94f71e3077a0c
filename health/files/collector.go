package files

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"

	"mirrorpool/health/files/checksums"
)

const (
	maxNews      = 10_000  // paths of new files that are kept by name
	maxNewsBytes = 1 << 20 // of them together
	maxNewest    = 20      // files that the release view shows while no release is known
)

// A File is a file of the origin by its name.
type File struct {
	Path string `json:"path"`
	Size int64  `json:"size"` // -1 if it is not known
	Time uint32 `json:"time"` // seconds since 1970; 0 if it is not known
}

// A Collector takes in what the origin publishes, file by file.
type Collector struct {
	HasTimes bool // see [Universe.HasTimes]
	Anew     bool // the files are wanted although they may be what they were the last time

	before    *Universe
	rewritten Patterns
	sums      *checksums.Listing // if not nil, it gets the files that are not rewritten in place
	records   []record
	added     int    // records, or files that each got
	news      []File // that the universe before lacks, or had otherwise
	newsBytes int
	newest    []File                     // the newest first
	each      func(path string, f *file) // if not nil, it gets the files, and they are not kept
	wanted    *roaring.Bitmap            // if not nil, the files of the universe before whose names are wanted, instead of news
}

// Len returns how many files and folders were taken in.
func (c *Collector) Len() int { return c.added }

// Add takes in a file. The version is its modification time, in seconds since 1970, or a part of its digest. The error
// says why the whole list must not be used.
func (c *Collector) Add(path string, size int64, version uint32) error {
	return c.addFile(path, size, version, nil)
}

// addFile is Add for a file whose checksum is known, or nil.
func (c *Collector) addFile(path string, size int64, version uint32, sum *checksums.Sum) error {
	f := file{size, version, regular}
	if c.rewritten.Match(path) {
		f.kind = rewritten
	}
	if size < unknownSize {
		return fmt.Errorf("%w: a file of %d bytes", ErrListing, size)
	}
	if err := c.add(path, f); err != nil {
		return err
	}
	if usable, _ := checkPath(path); usable && c.sums != nil && f.kind == regular {
		var time uint32
		if c.HasTimes {
			time = version
		}
		c.sums.Add(path, size, time, sum)
	}
	return nil
}

// AddFolder takes in a folder.
func (c *Collector) AddFolder(path string) error { return c.add(path, file{kind: folder}) }

func (c *Collector) add(path string, f file) error {
	usable, err := checkPath(path)
	if err != nil || !usable {
		return err
	}
	if c.added == MaxFiles {
		return fmt.Errorf("%w: more than %d files", ErrListing, MaxFiles)
	}
	c.added++
	if c.each != nil {
		if f.kind != folder {
			c.each(path, &f)
		}
		return nil
	}
	hash := hashPath(path)
	c.records = append(c.records, record{hash, f})
	if f.kind == folder {
		return nil
	}
	named := File{path, f.size, 0}
	if c.HasTimes {
		named.Time = f.version
		c.noteNewest(named)
	}
	var number uint32
	known := false
	if c.before != nil {
		number, known = c.before.find(hash)
	}
	isNews := !known || differs(&c.before.files[number], &f)
	if c.wanted != nil {
		isNews = known && c.wanted.Contains(number)
	}
	if isNews {
		c.noteNews(named)
	}
	return nil
}

// noteNews keeps the name of a new file, while there is room.
func (c *Collector) noteNews(f File) {
	if len(c.news) < maxNews && c.newsBytes+len(f.Path) <= maxNewsBytes {
		c.news = append(c.news, f)
		c.newsBytes += len(f.Path)
	}
}

// noteNewest keeps a file if it is among the newest.
func (c *Collector) noteNewest(f File) {
	if len(c.newest) == maxNewest && f.Time <= c.newest[maxNewest-1].Time {
		return
	}
	i, _ := slices.BinarySearchFunc(c.newest, f, func(a, b File) int {
		return cmp.Or(cmp.Compare(b.Time, a.Time), cmp.Compare(a.Path, b.Path))
	})
	c.newest = slices.Insert(c.newest, i, f)
	c.newest = c.newest[:min(len(c.newest), maxNewest)]
}
