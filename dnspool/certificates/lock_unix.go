//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package certificates

import (
	"errors"
	"os"
	"syscall"
)

// lockFile locks a file against other processes, unless one of them has locked it. The end of the process unlocks it.
func lockFile(f *os.File) (locked bool, err error) {
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

// shareFile has several processes hold a lock that lockFile does not get then.
func shareFile(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_SH) }

// unlockFile unlocks a file, also for a process that is being started and has a copy of f until it runs.
func unlockFile(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_UN) }
