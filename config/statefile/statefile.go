// Package statefile replaces files whole, so that whenever the machine stops, either the new one is there, or the old
// one; and loads them, so that one that is of no use is kept to be looked at.
//
// It knows nothing of what is in them. Several processes may replace the same file: the last one's stays.
package statefile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"mirrorpool/config/safefile"
)

// Aside is appended to the name of a file that is set aside.
const Aside = ".bad"

// Load has use read the file at path. That there is none is no error. One that cannot be read, or that is of no use,
// is set aside under a name that ends in Aside, so that it is not lost with the next Replace; the error names both.
func Load(path string, use func(io.Reader) error) error {
	err := load(path, use)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if asideErr := os.Rename(path, path+Aside); asideErr != nil {
		return fmt.Errorf("%s: %w; and it cannot be set aside: %w", path, safefile.Reason(err), asideErr)
	}
	return fmt.Errorf("%s: %w; set aside as %s", path, safefile.Reason(err), path+Aside)
}

func load(path string, use func(io.Reader) error) error {
	f, err := safefile.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return use(f)
}

// suffix ends the names of temporary files.
const suffix = ".tmp"

// leftoverAge is the age at which a temporary file is taken for abandoned.
const leftoverAge = time.Hour

// Replace replaces the file at path by what write writes, or leaves it as it is. Only its owner may read it. Errors of
// the file system name path, and never the temporary file, so that the same trouble gives the same text.
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
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*"+suffix) // mode 0600, and a name that no other process has
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
	removeLeftovers(dir, filepath.Base(path)+".", time.Now().Add(-leftoverAge))
	// The new name has to reach the disk too, or a crash could bring the old file back.
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// removeLeftovers removes the temporary files whose names have a prefix, and that crashes have left before a time.
func removeLeftovers(dir, prefix string, before time.Time) {
	entries, _ := os.ReadDir(dir) // those that cannot be read stay
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), prefix) || !strings.HasSuffix(e.Name(), suffix) {
			continue
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() && info.ModTime().Before(before) {
			os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}
