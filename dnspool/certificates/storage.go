package certificates

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
)

const lockPoll = time.Second

// A storage is what certmagic saves files by. Its locks end with the process that holds them. Those of certmagic stay
// for a while after a crash, and it logs about them without our logger.
type storage struct {
	*certmagic.FileStorage
	waits func(lock string, waiting bool) // signals that a lock is waited for, and the end of that; may be nil

	looking sync.Mutex // held while other copies of the program are looked for

	mu     sync.Mutex
	held   map[string]*os.File // by the name of the lock
	copies *os.File            // locked by all copies of the program at once; nil before join
}

func newStorage(dir string) *storage {
	return &storage{FileStorage: &certmagic.FileStorage{Path: dir}, held: map[string]*os.File{}}
}

// Lock waits until no order of this process, or of another copy of the program, holds a lock.
func (s *storage) Lock(ctx context.Context, name string) error {
	waited := false
	defer func() {
		if waited && s.waits != nil {
			s.waits(name, false)
		}
	}()
	for {
		if locked, err := s.TryLock(ctx, name); locked || err != nil {
			return err
		}
		if !waited && s.waits != nil {
			s.waits(name, true)
		}
		waited = true
		select {
		case <-time.After(lockPoll):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// TryLock takes a lock if that is possible at once.
func (s *storage) TryLock(_ context.Context, name string) (locked bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[name] != nil {
		return false, nil
	}
	file := s.lockFile(name)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return false, err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return false, err
	}
	if locked, err = lockFile(f); !locked || err != nil {
		f.Close()
		return false, err
	}
	if !isAt(f, file) { // its last holder has removed it: a lock on it holds off no one
		return false, f.Close()
	}
	s.held[name] = f
	return true, nil
}

// lockFile returns the file of a lock.
func (s *storage) lockFile(name string) string {
	return s.Filename(filepath.Join("locks", certmagic.StorageKeys.Safe(name)+".flock"))
}

// isAt reports whether an open file is the one that a name leads to.
func isAt(f *os.File, file string) bool {
	opened, err := f.Stat()
	if err != nil {
		return false
	}
	now, err := os.Stat(file)
	return err == nil && os.SameFile(opened, now)
}

// suggestionLock begins the name of the lock that certmagic holds while it asks when to renew a certificate.
const suggestionLock = "ari_"

// Unlock releases a lock. The file stays for the next holder, unless it is of a TXT record or a certificate: there are
// always new ones.
func (s *storage) Unlock(_ context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.held[name]
	if f == nil {
		return fmt.Errorf("the lock %s is not held", name)
	}
	delete(s.held, name)
	if path.Dir(name) == notedFolder || strings.HasPrefix(name, suggestionLock) {
		_ = os.Remove(f.Name()) // while it is locked; see isAt
	}
	return errors.Join(unlockFile(f), f.Close())
}
