package checksums

import (
	"cmp"
	"context"
	"crypto/sha512"
	"io"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
	"go.uber.org/zap"
)

// MaxFiles is how many files have a checksum: the newest ones that are wanted.
const MaxFiles = 50_000

// Settings are what the operator says.
type Settings struct {
	// Wanted reports whether the checksum of a file is wanted. The size is -1 if it is not known.
	Wanted func(path string, size int64) bool
	// Rate is how many bytes of files without a published checksum are read in a second to hash them; 0: none.
	Rate int64
	// ReadsLists says that the origin's lists of checksums can be read.
	ReadsLists bool
	// Pause is the time between two reads of lists.
	Pause time.Duration
}

// Options are what a store works with.
type Options struct {
	Settings Settings
	// Open opens a file of the origin. It is only called where the origin has said that it has the file.
	Open      func(ctx context.Context, path string) (io.ReadCloser, error)
	StateFile string // where checksums are saved; empty: nowhere
	Log       *zap.Logger
	Now       func() time.Time
}

// A File is a file of the origin whose checksum is wanted. Another size or time makes it another File.
type File struct {
	Path string // relative to the mirrors' url_prefix
	Size int64  // bytes; -1 if it is not known
	Time uint32 // of its last change, in seconds since 1970; 0 if it is not known

	hashed atomic.Bool // the checksum is of the origin's bytes, not of what it publishes
	sum    atomic.Pointer[Sum]
}

// Sum returns the checksum, or nil while it is not known.
func (f *File) Sum() *Sum { return f.sum.Load() }

// is reports whether a file is the same as another, as far as size and time say.
func (f *File) is(other *File) bool {
	return f.Size == other.Size && f.Time == other.Time && f.Path == other.Path
}

// A Store knows the checksums of the origin's files.
type Store struct {
	Options
	byPath atomic.Pointer[map[uint64]*File] // by the hash of the path; not changed once it is there
	wake   chan struct{}                    // holds one token while Run may have something to do

	mu       sync.Mutex // guards all below
	settings Settings
	lists    map[string]*list    // of the origin, by path
	retry    map[*File]time.Time // files that could not be hashed, and when to try again
	dirty    bool                // a checksum has changed since all were saved
}

// A list is a file with checksums.
type list struct {
	File
	subject string    // the one file that it is for; "": any in its folder
	due     bool      // it is to be read
	retry   time.Time // not before
	problem string    // why it could not be read the last time, or ""
}

// NewStore returns a store that knows nothing yet.
func NewStore(o Options) *Store {
	s := &Store{Options: o, settings: o.Settings, wake: make(chan struct{}, 1), retry: map[*File]time.Time{}}
	s.byPath.Store(&map[uint64]*File{})
	return s
}

// SetSettings puts other settings in force; the files that are wanted are others with the next listing.
func (s *Store) SetSettings(next Settings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settings = next
	s.hurry()
}

// hurry has Run look what there is to do.
func (s *Store) hurry() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Find returns the file at the path with an xxhash, or nil if its checksum is not wanted.
func (s *Store) Find(hash uint64) *File { return (*s.byPath.Load())[hash] }

// FindPath returns the file at a path, or nil if its checksum is not wanted.
func (s *Store) FindPath(path string) *File { return s.Find(xxhash.Sum64String(path)) }

// Files returns the files whose checksums are known, the newest first.
func (s *Store) Files() []*File {
	files := make([]*File, 0, len(*s.byPath.Load()))
	for _, f := range *s.byPath.Load() {
		if f.Sum() != nil {
			files = append(files, f)
		}
	}
	slices.SortFunc(files, newestFirst)
	return files
}

func newestFirst(a, b *File) int {
	return cmp.Or(cmp.Compare(b.Time, a.Time), cmp.Compare(a.Path, b.Path))
}

// Forget drops all files: there is no origin any more, or another one.
func (s *Store) Forget() { s.Take(&Listing{}) }

// A Listing is what the origin has, as it is read. Its zero value wants nothing.
type Listing struct {
	Settings
	files  []*File
	lists  map[string]*list
	capped bool
}

// NewListing returns an empty listing.
func (s *Store) NewListing() *Listing {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &Listing{Settings: s.settings, lists: map[string]*list{}}
}

// Add takes in a file, with its checksum if the listing has that, or nil.
func (l *Listing) Add(path string, size int64, time uint32, sum *Sum) {
	switch {
	case l.Wanted == nil:
	case l.ReadsLists && isList(path):
		if len(l.lists) < MaxFiles {
			l.lists[path] = &list{File: File{Path: path, Size: size, Time: time}}
		}
	case l.Wanted(path, size):
		f := &File{Path: path, Size: size, Time: time}
		if sum != nil {
			f.sum.Store(sum)
		}
		if l.files = append(l.files, f); len(l.files) == 2*MaxFiles {
			l.cap()
		}
	}
}

// cap keeps the newest files.
func (l *Listing) cap() {
	if len(l.files) > MaxFiles {
		slices.SortFunc(l.files, newestFirst)
		clear(l.files[MaxFiles:])
		l.files, l.capped = l.files[:MaxFiles], true
	}
}

// Take takes in what the origin has.
func (s *Store) Take(l *Listing) {
	l.cap()
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.capped {
		s.Log.Warn("too many files match files.hashes: only the newest have checksums", zap.Int("most", MaxFiles))
	}
	before := *s.byPath.Load()
	next := make(map[uint64]*File, len(l.files))
	var fresh []*File
	for _, f := range l.files {
		hash := xxhash.Sum64String(f.Path)
		known := before[hash]
		if known == nil || !known.is(f) {
			known, fresh = f, append(fresh, f)
			s.dirty = true
		} else if sum := f.sum.Load(); sum != nil && *sum != valueOf(known.Sum()) {
			known.sum.Store(sum)
			s.dirty = true
		}
		next[hash] = known
	}
	s.retry = map[*File]time.Time{}
	s.byPath.Store(&next)
	s.takeLists(l.lists, next, fresh)
	s.hurry()
}

// valueOf returns what sum points to, or the zero value.
func valueOf(sum *Sum) Sum {
	if sum == nil {
		return Sum{}
	}
	return *sum
}

// takeLists takes in which lists there are. Those are read that are new, have changed, or may tell of fresh files.
func (s *Store) takeLists(lists map[string]*list, files map[uint64]*File, fresh []*File) {
	for path, l := range lists {
		before := s.lists[path]
		l.subject = subjectOf(path)
		if l.subject != "" && files[xxhash.Sum64String(l.subject)] == nil {
			if l.hasOneLine() {
				delete(lists, path)
				continue
			}
			l.subject = "" // such as release.sha256, with the checksums of a release
		}
		if before == nil || !before.is(&l.File) || before.subject != l.subject {
			l.due = true
			continue
		}
		before.due = before.due || slices.ContainsFunc(fresh, func(f *File) bool { return l.mayName(f.Path) })
		lists[path] = before
	}
	s.lists = lists
}

// hasOneLine reports whether a list that is named for a file has no room for more than one line. So the many lists of
// files whose checksums are not wanted need not be read.
func (l *list) hasOneLine() bool {
	const digest, tag = 2 * sha512.Size, "SHA512 () = \r\n"
	return l.Size <= int64(digest+len(tag)+len(path.Base(l.subject)))
}

// mayName reports whether a list may have the checksum of a file.
func (l *list) mayName(file string) bool {
	if l.subject != "" {
		return l.subject == file
	}
	folder := path.Dir(l.Path)
	return folder == "." || strings.HasPrefix(file, folder+"/")
}
