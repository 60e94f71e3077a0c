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
	staged, err := Stage(path, write)
	if err != nil {
		return err
	}
	return staged.Commit()
}

// A Staged is what a file is to be replaced by, on disk beside it: where several files have to change together, all of
// them are staged before the first is replaced, so that a full disk changes none.
type Staged struct{ path, temporary string }

// Stage writes what is to take the place of the file at path. Either Commit or Discard has to be called then.
func Stage(path string, write func(io.Writer) error) (*Staged, error) {
	s := &Staged{path: path}
	if err := s.write(write); err != nil {
		s.Discard()
		return nil, s.named(err)
	}
	return s, nil
}

func (s *Staged) write(write func(io.Writer) error) error {
	// Its mode is 0600, and its name one that no other process has.
	f, err := os.CreateTemp(filepath.Dir(s.path), filepath.Base(s.path)+".*"+suffix)
	if err != nil {
		return err
	}
	s.temporary = f.Name()
	out := bufio.NewWriter(f)
	return errors.Join(write(out), out.Flush(), f.Sync(), f.Close())
}

// Discard removes what was written, and leaves the file as it is.
func (s *Staged) Discard() {
	if s.temporary != "" {
		os.Remove(s.temporary)
	}
}

// Commit replaces the file, or leaves it as it is.
func (s *Staged) Commit() error {
	if err := os.Rename(s.temporary, s.path); err != nil {
		s.Discard()
		return s.named(err)
	}
	dir := filepath.Dir(s.path)
	removeLeftovers(dir, filepath.Base(s.path)+".", time.Now().Add(-leftoverAge))
	// The new name has to reach the disk too, or a crash could bring the old file back.
	folder, err := os.Open(dir)
	if err != nil {
		return s.named(err)
	}
	return s.named(errors.Join(folder.Sync(), folder.Close()))
}

// named has an error of the file system name the file.
func (s *Staged) named(err error) error {
	if at := (*os.PathError)(nil); errors.As(err, &at) {
		return &os.PathError{Op: at.Op, Path: s.path, Err: at.Err}
	}
	if at := (*os.LinkError)(nil); errors.As(err, &at) {
		return &os.PathError{Op: at.Op, Path: s.path, Err: at.Err}
	}
	return err
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
