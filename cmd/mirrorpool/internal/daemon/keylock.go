package daemon

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// slowDisk is how long the use of key files may take without being trouble.
const slowDisk = time.Minute

// A keyLock is held while key files are used, and until what they hold is in force.
type keyLock struct {
	mu    sync.Mutex
	since atomic.Pointer[time.Time] // nil: it is free
}

// Lock locks l.
func (l *keyLock) Lock() {
	l.mu.Lock()
	l.note()
}

// TryLock locks l if it is free.
func (l *keyLock) TryLock() bool {
	locked := l.mu.TryLock()
	if locked {
		l.note()
	}
	return locked
}

func (l *keyLock) note() {
	now := time.Now()
	l.since.Store(&now)
}

// Unlock unlocks l.
func (l *keyLock) Unlock() {
	l.since.Store(nil)
	l.mu.Unlock()
}

// trouble says that key files have been in use for too long, or is "".
func (l *keyLock) trouble() string {
	since := l.since.Load()
	if since == nil || time.Since(*since) < slowDisk {
		return ""
	}
	return fmt.Sprintf("reading or writing key files has taken since %s; a disk, or a server with a mounted folder, may hang",
		since.UTC().Format(time.RFC3339))
}
