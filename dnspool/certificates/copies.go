package certificates

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"
)

const (
	upgradeTime   = 10 * time.Minute // given to the copy of the program that an upgrade replaces
	aloneInterval = 15 * time.Second // between looks whether it has ended
	lookLock      = "look_at_copies"
)

// errNotAlone is why no order is made that our own zone has to answer for: another copy of the program does not have
// our TXT records, and may be asked for them.
var errNotAlone = errors.New("another copy of the program uses this state_dir, as in an upgrade; " +
	"certificates for names in dns.zone are ordered when it has ended, or after 10 minutes")

// join has other copies of the program see that this one uses the folder, and since when.
func (s *storage) join() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	file := s.Filename(filepath.Join("locks", "copies.flock"))
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	now := time.Now()
	if err := errors.Join(shareFile(f), os.Chtimes(file, now, now)); err != nil {
		f.Close()
		return err
	}
	s.copies = f
	return nil
}

// leave ends what join has begun, if it has.
func (s *storage) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.copies != nil {
		unlockFile(s.copies)
		s.copies.Close()
		s.copies = nil
	}
}

// upgrading reports whether several copies of the program use the folder, the latest of which is new.
func (s *storage) upgrading() bool {
	s.looking.Lock() // the look itself tells other processes apart, not goroutines of this one
	defer s.looking.Unlock()
	return s.latestIsNew() && !s.isAlone()
}

// latestIsNew reports whether this copy of the program or another one has joined a short time ago.
func (s *storage) latestIsNew() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.copies == nil {
		return false
	}
	info, err := s.copies.Stat()
	if err != nil {
		return false
	}
	age := time.Since(info.ModTime())
	return 0 <= age && age < upgradeTime // a clock may have been set back
}

// isAlone reports whether no other copy of the program uses the folder, or none can be noticed. For a moment, flock
// drops a lock that it changes from shared to exclusive, so another copy that looked meanwhile would find itself alone:
// only one looks at a time.
func (s *storage) isAlone() bool {
	looks, err := s.TryLock(context.Background(), lookLock)
	if err != nil {
		return true
	}
	if !looks {
		return false // another copy does
	}
	defer s.Unlock(context.Background(), lookLock)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.copies == nil { // left meanwhile
		return true
	}
	alone, err := lockFile(s.copies)
	return errors.Join(err, shareFile(s.copies)) != nil || alone
}
