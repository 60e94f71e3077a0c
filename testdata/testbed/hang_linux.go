package testbed

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// A HangingFolder is a folder on a disk that hangs: to open a file in it takes until Release.
type HangingFolder struct {
	fd   int
	open bool
}

// NewHangingFolder has the disk of a folder hang. Without the right to do so the test is skipped, unless all peers have
// to be there.
func NewHangingFolder(t testing.TB, dir string) *HangingFolder {
	t.Helper()
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC, unix.O_RDONLY)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
		Lack(t, "this user has no right to hold up the opening of files")
	}
	if err != nil {
		t.Fatal(err)
	}
	h := &HangingFolder{fd: fd, open: true}
	t.Cleanup(h.Release)
	if err := unix.FanotifyMark(fd, unix.FAN_MARK_ADD, unix.FAN_OPEN_PERM|unix.FAN_EVENT_ON_CHILD, unix.AT_FDCWD, dir); err != nil {
		t.Fatal(err)
	}
	return h
}

// Await waits until a file is being opened.
func (h *HangingFolder) Await(t testing.TB) {
	t.Helper()
	const most = 10_000 // milliseconds
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(h.fd), Events: unix.POLLIN}}, most); err != nil || n != 1 {
		t.Fatalf("no file is opened: %v", err)
	}
}

// Release lets the disk go on.
func (h *HangingFolder) Release() {
	if h.open {
		unix.Close(h.fd)
		h.open = false
	}
}
