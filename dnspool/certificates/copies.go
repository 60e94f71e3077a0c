package certificates

import (
	"errors"
	"os"
	"path/filepath"
	"time"
)

const (
	upgradeTime   = 10 * time.Minute // given to the copy of the program that an upgrade replaces
	aloneInterval = 15 * time.Second // between looks whether it has ended
)

// errNotAlone is why no order is made that our own zone has to answer for: another copy of the program does not have
// our TXT records, and may be asked for them.
var errNotAlone = errors.New("another copy of the program uses this state_dir, as in an upgrade; " +
	"certificates for names in dns.zone are ordered when it has ended, or after 10 minutes")

// join has other copies of the program see that this one uses the folder.
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
	if err := shareFile(f); err != nil {
		f.Close()
		return err
	}
	s.copies, s.joined = f, time.Now()
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

// upgrading reports whether this copy of the program is new and another one uses the folder.
func (s *storage) upgrading() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.copies == nil || time.Since(s.joined) >= upgradeTime {
		return false
	}
	alone, err := lockFile(s.copies)
	return errors.Join(err, shareFile(s.copies)) == nil && !alone
}
