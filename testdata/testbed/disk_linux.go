package testbed

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// diskBlock is the size of a block of a SmallDisk, in bytes. A file takes at least one.
const diskBlock = 4096

// A SmallDisk is a file system that can be filled.
type SmallDisk struct {
	Dir    string
	filler string
}

// NewSmallDisk mounts a file system of a few blocks. Without the right to do so the test is skipped, unless all peers
// have to be there.
func NewSmallDisk(t testing.TB) *SmallDisk {
	t.Helper()
	dir := t.TempDir()
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k,mode=700")
	if errors.Is(err, unix.EPERM) {
		Lack(t, "this user has no right to mount a file system")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return &SmallDisk{Dir: dir, filler: filepath.Join(dir, "filler")}
}

// Fill leaves as many blocks free.
func (d *SmallDisk) Fill(t testing.TB, free int) {
	t.Helper()
	d.Empty(t)
	f, err := os.Create(d.filler)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size := int64(0)
	for err == nil {
		var n int
		n, err = f.Write(bytes.Repeat([]byte{'x'}, diskBlock))
		size += int64(n)
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	if err := f.Truncate(size - int64(free)*diskBlock); err != nil {
		t.Fatal(err)
	}
}

// Empty takes back what Fill has filled.
func (d *SmallDisk) Empty(t testing.TB) {
	t.Helper()
	if err := os.Remove(d.filler); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
}
