package listen

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// readerSlice is for how long a reader's thread wants to run at a time. The kernel (Linux 6.12 or later) lets a
	// thread run at once when it wakes up if its slice is shorter than that of the thread that has the CPU; otherwise
	// it waits for the end of that one's, a tick or two of 4 ms. The shortest that the kernel takes is 0.1 ms.
	readerSlice = 100 * time.Microsecond
	// readerTimerSlack is by how much the kernel may prolong a reader's rest to wake up less often; 50 us otherwise.
	readerTimerSlack = 10 * time.Microsecond
)

// LockReaderThread gives the calling goroutine, which reads a socket, a thread of its own that gets a CPU soon after it
// wakes up, even while other threads of the program compute. The thread ends with the goroutine. What the kernel or a
// sandbox refuses is as with any other thread; the error says so, and the goroutine can read all the same.
//
// No privilege is needed: a thread with a short slice gets no more of the CPU, only its turn sooner. See
// sched_setattr(2).
func LockReaderThread() error {
	runtime.LockOSThread()
	return errors.Join(shortenSlice(), wakeOnTime())
}

func shortenSlice() error {
	attr, err := unix.SchedGetAttr(0, 0)
	if err == nil {
		attr.Runtime = uint64(readerSlice)
		attr.Flags |= unix.SCHED_FLAG_RESET_ON_FORK
		err = unix.SchedSetAttr(0, attr, 0)
	}
	if err != nil {
		return fmt.Errorf("cannot shorten the time slice of a reader's thread: %w", err)
	}
	return nil
}

func wakeOnTime() error {
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(readerTimerSlack), 0, 0, 0); err != nil {
		return fmt.Errorf("cannot set the timer slack of a reader's thread: %w", err)
	}
	return nil
}
