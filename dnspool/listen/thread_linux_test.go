package listen_test

import (
	"errors"
	"runtime"
	"testing"
	"unsafe"

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

// TestLockReaderThreadInSandbox: a reader wakes up on time even if its time slice may not be shortened.
func TestLockReaderThreadInSandbox(t *testing.T) {
	for name, call := range map[string]uint32{"get": unix.SYS_SCHED_GETATTR, "set": unix.SYS_SCHED_SETATTR} {
		t.Run(name, func(t *testing.T) {
			done := make(chan struct{})
			go func() { // whose thread ends with it
				defer close(done)
				runtime.LockOSThread()
				if err := refuse(call); err != nil {
					t.Errorf("a filter of system calls: %v", err)
					return
				}
				if err := listen.LockReaderThread(); !errors.Is(err, unix.EPERM) {
					t.Errorf("error %v, want %v", err, unix.EPERM)
				}
				slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
				if err != nil || slack != 10_000 {
					t.Errorf("a timer slack of %d ns, %v; want 10000", slack, err)
				}
			}()
			<-done
		})
	}
}

// refuse has the kernel refuse a system call of this thread from now on, as a sandbox does.
func refuse(call uint32) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // the number of the call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: call, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_PRCTL, unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return errno
	}
	return nil
}
