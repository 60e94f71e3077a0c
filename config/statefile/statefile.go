// Package statefile replaces files whole, so that whenever the machine stops, either the new one is there, or the old one.
//
// It knows nothing of what is in them. Several processes may replace the same file: the last one's stays.
package statefile

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"
)

// leftoverAge is how old a temporary file is that nobody is writing to any more.
const leftoverAge = time.Hour

// Replace replaces the file at path by what write writes, or leaves it as it is. Nobody but the user may read it. Errors of
// the file system are told of path, whatever file they were met at, so that the same trouble gives the same text.
func Replace(path string, write func(io.Writer) error) error {
	err := replace(path, write)
	if at := (*os.PathError)(nil); errors.As(err, &at) {
		return &os.PathError{Op: at.Op, Path: path, Err: at.Err}
	}
	if at := (*os.LinkError)(nil); errors.As(err, &at) {
		return &os.PathError{Op: at.Op, Path: path, Err: at.Err}
	}
	return err
}

func replace(path string, write func(io.Writer) error) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*.tmp") // mode 0600, and a name that no other process has
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	out := bufio.NewWriter(f)
	if err := errors.Join(write(out), out.Flush(), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	removeLeftovers(path, time.Now().Add(-leftoverAge))
	// The new name has to reach the disk too, or a crash could bring the old file back.
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// removeLeftovers removes what crashes have left beside a file before a time.
func removeLeftovers(path string, before time.Time) {
	left, _ := filepath.Glob(path + ".*.tmp") // a path that is a broken pattern keeps them
	for _, name := range left {
		if info, err := os.Lstat(name); err == nil && info.Mode().IsRegular() && info.ModTime().Before(before) {
			os.Remove(name)
		}
	}
}
