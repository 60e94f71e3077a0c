package certificates

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// abandon leaves all locks as the death of the process does.
func (s *storage) abandon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.held {
		unlockFile(f)
		f.Close()
	}
}

// TestLocks: a lock is held once among the copies of the program and within one, until it is released or its holder
// dies.
func TestLocks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, second := newStorage(dir), newStorage(dir)
	take := func(s *storage, want bool) {
		t.Helper()
		if locked, err := s.TryLock(t.Context(), "a"); locked != want || err != nil {
			t.Errorf("locked %v, %v, want %v", locked, err, want)
		}
	}
	take(first, true)
	take(first, false)
	take(second, false)
	if err := first.Unlock(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	take(second, true)
	take(first, false)
	second.abandon()
	take(first, true)
	if err := newStorage(dir).Unlock(t.Context(), "a"); err == nil {
		t.Error("a lock that is not held was released")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := newStorage(dir).Lock(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for a lock: %v", err)
	}
}

// TestLocksOfTXTRecords has several copies of the program take and release the lock of one TXT record: one holds it at
// a time, and no file is left.
func TestLocksOfTXTRecords(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lock := notedRecord{Value: "digest"}.key()
	var holders, taken atomic.Int64
	var copies sync.WaitGroup
	for range 4 {
		copies.Go(func() {
			s := newStorage(dir)
			for range 500 {
				locked, err := s.TryLock(t.Context(), lock)
				if err != nil {
					t.Error(err)
				}
				if !locked {
					continue
				}
				if taken.Add(1); holders.Add(1) != 1 {
					t.Error("the lock is held twice")
				}
				runtime.Gosched()
				holders.Add(-1)
				if err := s.Unlock(t.Context(), lock); err != nil {
					t.Error(err)
				}
			}
		})
	}
	copies.Wait()
	left, err := os.ReadDir(filepath.Join(dir, "locks"))
	if err != nil || len(left) > 0 || taken.Load() == 0 {
		t.Errorf("taken %d times; %d files left, %v", taken.Load(), len(left), err)
	}
}

// TestWaitForOtherCopy: while another copy orders the certificate for a name, the problem says so; when that copy is
// killed, it is ordered here within seconds. Lock files of certmagic that a former version has left do not matter.
func TestWaitForOtherCopy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.DebugLevel)
		authority := newSimulatedAuthority(t)
		other := newStorage(dir)
		if err := other.Lock(t.Context(), issueLock+authority.name); err != nil {
			t.Fatal(err)
		}
		left := filepath.Join(dir, "locks", issueLock+authority.name+".lock")
		text := `{"created": "` + time.Now().Format(time.RFC3339) + `"}`
		if err := os.WriteFile(left, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		acme, stop := runSimulated(t, dir, authority, zap.New(core))
		defer stop()
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if problem := acme.Status()[0].Problem; !strings.Contains(problem, "is under way") || authority.asked.Load() != 0 {
			t.Errorf("while another copy orders: asked %d times, problem %q", authority.asked.Load(), problem)
		}
		other.abandon()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if problem := acme.Status()[0].Problem; serves(t, acme, authority, false) == 0 || problem != "" {
			t.Errorf("after the other copy was killed: problem %q, log %v", problem, logs.All())
		}
	})
}
