package listen_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"mirrorpool/dnspool/listen"
)

// TestLockReaderThread looks at the slice of the thread: on a kernel that has slices (6.12 or later) it is the
// shortest, and on others none is shown. Its nice value stays, and threads that it starts get the usual slice.
func TestLockReaderThread(t *testing.T) {
	before, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := listen.LockReaderThread(); err != nil {
			t.Error(err)
		}
		after, err := unix.SchedGetAttr(0, 0)
		if err != nil {
			t.Error(err)
			return
		}
		want := uint64(100_000)
		if before.Runtime == 0 {
			want = 0
		}
		if after.Runtime != want || after.Nice != before.Nice || after.Policy != before.Policy {
			t.Errorf("a slice of %d ns, nice %d and policy %d; want %d, %d and %d",
				after.Runtime, after.Nice, after.Policy, want, before.Nice, before.Policy)
		}
		if after.Flags&unix.SCHED_FLAG_RESET_ON_FORK == 0 {
			t.Error("threads that this one starts would have its slice")
		}
	}()
	<-done
}
