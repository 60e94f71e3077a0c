package files

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"go.uber.org/zap"

	"mirrorpool/config/statefile"
)

// stateFormat is that of a file in state_dir.
var stateFormat = statefile.Format{Kind: "mirrorpool-files", Version: 1, Limit: 1 << 30}

// A savedState is what a catalog knows, as it is saved.
type savedState struct {
	Origin         string
	Known          bool
	Read           time.Time
	Reference      time.Time
	HasTimes       bool
	Hashes         []uint64
	Numbers        []uint32
	Sizes          []int64 // by number, as Versions and Kinds
	Versions       []uint32
	Kinds          []byte
	Newest         []File
	Since, Latest  time.Time // of the release
	Release        []File    // those of its files that are named
	ReleaseNumbers []byte
	Mirrors        []savedMirror
}

// A savedMirror is a row, as it is saved.
type savedMirror struct {
	URLPrefix, RsyncURL string
	Trace, Listed       time.Time
	Files               int
	NoTimes             bool
	Digest              uint64
	Has, Other, Pending []byte
}

// saveIfUrgent saves what is known if the origin's files have changed: a restart must not forget what the release is.
func (c *Catalog) saveIfUrgent() {
	c.mu.Lock()
	urgent := c.urgent
	c.mu.Unlock()
	if urgent {
		c.SaveState()
	}
}

// SaveState saves what is known, unless nothing has changed since that was done.
func (c *Catalog) SaveState() {
	c.mu.Lock()
	if c.StateFile == "" || !c.dirty || c.universe.Len() == 0 {
		c.mu.Unlock()
		return
	}
	c.dirty, c.urgent = false, false
	saved, universe, rows := c.saved()
	c.mu.Unlock()
	saved.fill(universe, rows) // which takes long, where files are many
	var body bytes.Buffer
	err := gob.NewEncoder(&body).Encode(saved)
	if err == nil {
		err = stateFormat.Replace(c.StateFile, body.Bytes())
	}
	if err != nil {
		c.Log.Error("cannot save which mirrors carry which files", zap.Error(err))
	}
}

// saved returns what is known, to be filled with what is in the universe and the mirrors' rows: these do not change.
func (c *Catalog) saved() (s *savedState, u *Universe, rows []*Row) {
	u = c.universe
	s = &savedState{
		Origin: c.settings.Origin, Known: c.origin.known, Read: c.origin.read, Reference: c.reference, HasTimes: u.HasTimes,
		Hashes: u.hashes, Numbers: u.numbers, Newest: c.newest, Since: c.release.Since, Latest: c.release.Latest,
		ReleaseNumbers: bitmapBytes(c.release.numbers),
	}
	for _, f := range c.release.Files {
		s.Release = append(s.Release, f.File)
	}
	for _, m := range c.mirrors {
		if m != nil && m.row != nil {
			s.Mirrors = append(s.Mirrors, savedMirror{URLPrefix: m.URLPrefix, RsyncURL: m.RsyncURL, Trace: m.Trace})
			rows = append(rows, m.row)
		}
	}
	return s, u, rows
}

// fill takes in a universe, and the rows of the mirrors.
func (s *savedState) fill(u *Universe, rows []*Row) {
	s.Sizes, s.Versions, s.Kinds = make([]int64, len(u.files)), make([]uint32, len(u.files)), make([]byte, len(u.files))
	for i := range u.files {
		f := &u.files[i]
		s.Sizes[i], s.Versions[i], s.Kinds[i] = f.size, f.version, byte(f.kind)
	}
	for i, r := range rows {
		m := &s.Mirrors[i]
		m.Listed, m.Files, m.NoTimes, m.Digest = r.Listed, r.Files, r.NoTimes, r.digest
		m.Has, m.Other, m.Pending = bitmapBytes(r.has), bitmapBytes(r.other), bitmapBytes(r.pending)
	}
}

// bitmapBytes returns a bitmap as it is saved; nil for nil.
func bitmapBytes(b *roaring.Bitmap) []byte {
	if b == nil {
		return nil
	}
	text, err := b.ToBytes()
	if err != nil { // a bytes.Buffer takes all
		return nil
	}
	return text
}

// LoadState takes in what an earlier run has saved, if that was for the same origin. What is wrong with it is logged.
// It must be called before Run.
func (c *Catalog) LoadState() {
	if c.StateFile == "" {
		return
	}
	err := stateFormat.Load(c.StateFile, func(body []byte) error {
		var s savedState
		if err := gob.NewDecoder(bytes.NewReader(body)).Decode(&s); err != nil {
			return err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if s.Origin != c.settings.Origin {
			return nil
		}
		return c.restore(&s)
	})
	if err != nil {
		c.Log.Warn("ignoring saved knowledge of files", zap.Error(err))
	}
}

var errImplausible = errors.New("its parts do not fit together")

// restore takes in what was saved.
func (c *Catalog) restore(s *savedState) error {
	u := &Universe{HasTimes: s.HasTimes, hashes: s.Hashes, numbers: s.Numbers, files: make([]file, len(s.Sizes))}
	if len(s.Hashes) != len(s.Numbers) || len(s.Sizes) != len(s.Versions) || len(s.Sizes) != len(s.Kinds) || len(s.Hashes) > len(s.Sizes) ||
		!slices.IsSorted(s.Hashes) {
		return errImplausible
	}
	used := make([]bool, len(s.Sizes))
	for _, number := range s.Numbers {
		if int(number) >= len(used) || used[number] {
			return errImplausible
		}
		used[number] = true
	}
	u.index()
	for i := range u.files {
		u.files[i] = file{s.Sizes[i], s.Versions[i], kind(s.Kinds[i])}
		switch {
		case !used[i]:
			u.free = append(u.free, uint32(i))
		case u.files[i].kind != folder:
			u.count++
		}
	}
	numbers, err := readBitmap(s.ReleaseNumbers)
	if err != nil {
		return err
	}
	rows := make([]*Row, len(s.Mirrors))
	for i := range s.Mirrors {
		if rows[i], err = s.Mirrors[i].row(); err != nil {
			return err
		}
	}
	c.universe, c.newest, c.reference = u, s.Newest, s.Reference
	c.origin = originState{known: s.Known, read: s.Read}
	c.release = Release{Since: s.Since, Latest: s.Latest, numbers: numbers}
	for _, f := range s.Release {
		if number, ok := u.find(hashPath(f.Path)); ok {
			c.release.Files = append(c.release.Files, NumberedFile{f, number})
		}
	}
	c.release.nameAll()
	c.restoreMirrors(s.Mirrors, rows)
	c.publish()
	return nil
}

// restoreMirrors takes in the rows that were saved. Mirrors that were still to get files are listed soon.
func (c *Catalog) restoreMirrors(mirrors []savedMirror, rows []*Row) {
	for i := range mirrors {
		seen := Mirror{URLPrefix: mirrors[i].URLPrefix, RsyncURL: mirrors[i].RsyncURL, Trace: mirrors[i].Trace}
		number := c.number(seen.URLPrefix)
		m := newMirror(number, seen)
		m.row = rows[i]
		c.mirrors[number] = m
		m.plan.pull(c.Now(), false)
	}
}

// row returns the row that was saved.
func (s *savedMirror) row() (*Row, error) {
	has, errHas := readBitmap(s.Has)
	other, errOther := readBitmap(s.Other)
	pending, errPending := readBitmap(s.Pending)
	if err := errors.Join(errHas, errOther, errPending); err != nil {
		return nil, fmt.Errorf("row of %s: %w", s.URLPrefix, err)
	}
	return &Row{
		Listed: s.Listed, Files: s.Files, NoTimes: s.NoTimes, seen: s.Listed, has: has, other: other, pending: pending,
		digest: s.Digest,
	}, nil
}

func readBitmap(text []byte) (*roaring.Bitmap, error) {
	b := roaring.New()
	if len(text) == 0 {
		return b, nil
	}
	if _, err := b.FromUnsafeBytes(text); err != nil {
		return nil, err
	}
	return b, b.Validate()
}
