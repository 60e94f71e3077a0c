package checksums

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
	"go.uber.org/zap"
)

const (
	maxListBytes = 16 << 20 // of one list
	listTime     = time.Minute
	retryAfter   = 10 * time.Minute // what could not be read is tried again
	readSize     = 256 << 10        // bytes that are hashed at a time
	saveEvery    = time.Minute
)

// Run reads lists and hashes files until ctx ends. Then it saves what is known, and returns nil.
func (s *Store) Run(ctx context.Context) error {
	defer s.SaveState()
	saved := s.Now()
	for ctx.Err() == nil {
		switch {
		case s.readDueList(ctx):
		case s.hashNext(ctx):
		default:
			s.wait(ctx)
		}
		if now := s.Now(); now.Sub(saved) >= saveEvery {
			s.SaveState()
			saved = now
		}
	}
	return nil
}

// wait waits until there may be something to do.
func (s *Store) wait(ctx context.Context) {
	timer := time.NewTimer(saveEvery)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-s.wake:
	}
}

// pause waits for a time, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// readDueList reads a list that is due, and reports whether there was one. Older ones come first: the newest list is
// right where two do not agree.
func (s *Store) readDueList(ctx context.Context) bool {
	s.mu.Lock()
	var next *list
	now := s.Now()
	for _, l := range s.lists {
		if l.due && !now.Before(l.retry) && (next == nil || newestFirst(&next.File, &l.File) < 0) {
			next = l
		}
	}
	wait := s.settings.Pause
	s.mu.Unlock()
	if next == nil {
		return false
	}
	pause(ctx, wait)
	sums, err := s.read(ctx, next.Path)
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() == nil {
		s.takeList(next, sums, err)
	}
	return true
}

// read returns the checksums in a list by the xxhash of their files' paths: the SHA-256 one where it has both.
func (s *Store) read(ctx context.Context, path string) (map[uint64]Sum, error) {
	ctx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	r, err := s.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	sums := map[uint64]Sum{}
	err = readList(io.LimitReader(r, maxListBytes), path, func(path string, sum Sum) {
		hash := xxhash.Sum64String(path)
		if s.Find(hash) == nil || sums[hash].size == sha256.Size {
			return
		}
		sums[hash] = sum
	})
	return sums, err
}

// takeList takes in a list that was read.
func (s *Store) takeList(l *list, sums map[uint64]Sum, err error) {
	problem := ""
	if err != nil {
		problem = err.Error()
		l.retry = s.Now().Add(retryAfter)
	}
	if l.due = err != nil; problem != "" && problem != l.problem {
		s.Log.Warn("cannot read a list of checksums of the origin", zap.String("path", l.Path), zap.String("problem", problem))
	}
	l.problem = problem
	for hash, sum := range sums {
		if f := s.Find(hash); f != nil && l.speaksOf(f) {
			s.publish(f, &sum, l.Path)
		}
	}
}

// speaksOf reports whether the checksum that a list has for a file may be of the file as it is: it was not changed
// after the list.
func (l *list) speaksOf(f *File) bool { return f.Time == 0 || l.Time == 0 || l.Time >= f.Time }

// publish takes in a checksum that the origin publishes. A SHA-256 one stays where a SHA-512 one comes, too; and what
// the origin's bytes hash to outweighs what it publishes.
func (s *Store) publish(f *File, sum *Sum, list string) {
	known := f.Sum()
	switch {
	case known == nil:
	case *known == *sum, known.size == sha256.Size && sum.size != sha256.Size:
		return
	case f.hashed.Load() && known.size == sum.size:
		s.Log.Error("the origin's file does not have the checksum that the origin publishes", zap.String("path", f.Path),
			zap.String("list", list), zap.Stringer("published", sum), zap.Stringer("found", known))
		return
	}
	f.sum.Store(sum)
	f.hashed.Store(false)
	s.dirty = true
}

// hashNext hashes the newest file without a checksum, and reports whether there was one.
func (s *Store) hashNext(ctx context.Context) bool {
	f, rate := s.unhashed()
	if f == nil {
		return false
	}
	sum, err := s.hash(ctx, f, rate)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case ctx.Err() != nil, err == errNeedless:
	case err != nil:
		s.retry[f] = s.Now().Add(retryAfter)
		s.Log.Warn("cannot hash a file of the origin", zap.String("path", f.Path), zap.Error(err))
	case f.Sum() == nil:
		f.hashed.Store(true)
		f.sum.Store(&sum)
		s.dirty = true
	}
	return true
}

// unhashed returns the newest file without a checksum, if one is to be hashed now, and at which rate.
func (s *Store) unhashed() (next *File, rate int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.Now()
	if s.settings.Rate == 0 {
		return nil, 0
	}
	for _, f := range *s.byPath.Load() {
		if f.Sum() == nil && !now.Before(s.retry[f]) && (next == nil || newestFirst(f, next) < 0) {
			next = f
		}
	}
	return next, s.settings.Rate
}

var (
	errChanges  = errors.New("it is being changed")
	errNeedless = errors.New("it is gone, or its checksum was published")
)

// tick is the resolution of the times of files, after which another change shows in them.
const tick = 2 * time.Second

// hash reads a file of the origin at a rate, in bytes per second. Lists that are due meanwhile do not wait for it.
func (s *Store) hash(ctx context.Context, f *File, rate int64) (sum Sum, err error) {
	if wait := time.Unix(int64(f.Time), 0).Add(tick).Sub(s.Now()); wait <= tick { // not of a time that is to come
		pause(ctx, wait)
	}
	r, err := s.Open(ctx, f.Path)
	if err != nil {
		return sum, err
	}
	defer r.Close()
	digest, buffer := sha256.New(), make([]byte, readSize)
	began, read := s.Now(), int64(0)
	looked := began
	for {
		n, err := r.Read(buffer)
		digest.Write(buffer[:n])
		read += int64(n)
		if err == io.EOF {
			break
		} else if err != nil {
			return sum, fmt.Errorf("reading it: %w", err)
		}
		if now := s.Now(); now.Sub(looked) >= time.Second {
			looked = now
			s.readDueList(ctx)
			if f.Sum() != nil || s.FindPath(f.Path) != f {
				return sum, errNeedless
			}
		}
		due := began.Add(time.Duration(float64(read) / float64(rate) * float64(time.Second)))
		if pause(ctx, due.Sub(s.Now())); ctx.Err() != nil {
			return sum, ctx.Err()
		}
	}
	if read != f.Size || !unchanged(r, f) {
		return sum, errChanges
	}
	sum, _ = NewSum(digest.Sum(nil))
	return sum, nil
}

// unchanged reports whether an open file is as it was listed, if that can be told.
func unchanged(r io.Reader, f *File) bool {
	open, ok := r.(interface{ Stat() (fs.FileInfo, error) })
	if !ok {
		return true
	}
	info, err := open.Stat()
	return err == nil && info.Size() == f.Size && min(max(info.ModTime().Unix(), 0), math.MaxUint32) == int64(f.Time)
}

// Unread returns how many files have no checksum yet, and why lists could not be read, at most a few.
func (s *Store) Unread() (files int, problems []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range *s.byPath.Load() {
		if f.Sum() == nil {
			files++
		}
	}
	for path, l := range s.lists {
		if l.problem != "" {
			problems = append(problems, path+": "+l.problem)
		}
	}
	slices.SortFunc(problems, cmp.Compare[string])
	return files, problems[:min(len(problems), 3)]
}
