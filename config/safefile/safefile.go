// Package safefile opens the files and folders that an operator names, and refuses those that would hang the program
// or that another user could have written or can read.
//
// There is one rule for secrets (keys, tokens, private keys of certificates) and one for folders of state, so that all
// of them are refused for the same reasons and in the same words. Errors are of type *fs.PathError.
package safefile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Open opens the regular file at path for reading. It never blocks: a FIFO, a device or a folder is an error.
func Open(path string) (*os.File, error) { return openRegular(path, os.Stat, os.OpenFile) }

// ReadIn is [Read] for a file below root, out of which no link leads.
func ReadIn(root *os.Root, path string, limit int64) ([]byte, error) {
	f, err := openRegular(path, root.Stat, root.OpenFile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, path, limit)
}

func openRegular(
	path string, stat func(string) (fs.FileInfo, error), open func(string, int, fs.FileMode) (*os.File, error),
) (*os.File, error) {
	// To open a device can have effects, so it is looked at first. What replaces it in between is noticed below.
	if info, err := stat(path); err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: Reason(err)}
	} else if !info.Mode().IsRegular() {
		return nil, refuse(path, "not a regular file")
	}
	f, err := open(path, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = refuse(path, "not a regular file")
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Read reads the regular file at path, of at most limit bytes. A longer one is an error, and not cut.
func Read(path string, limit int64) ([]byte, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, path, limit)
}

// ReadSecret is Read for a file that holds a secret. It must belong to the user that runs the program or to root, and
// must not be readable by others nor writable by its group. Its group may read it, as systemd's credentials and
// Debian's ssl-cert have it.
func ReadSecret(path string, limit int64) ([]byte, error) {
	return readOwn(path, limit, func(mode fs.FileMode) error {
		if mode&0o027 != 0 {
			return refuse(path, "other users can read or change it (mode %04o); run: chmod 600 %s", mode, path)
		}
		return nil
	})
}

// ReadTrusted is Read for a file that others may read, but must not be able to change: it must belong to the user that
// runs the program or to root, and be writable by its owner alone.
func ReadTrusted(path string, limit int64) ([]byte, error) {
	return readOwn(path, limit, func(mode fs.FileMode) error {
		if mode&0o022 != 0 {
			return refuse(path, "other users can change it (mode %04o); run: chmod go-w %s", mode, path)
		}
		return nil
	})
}

// readOwn reads a file of this user or of root whose permissions pass check.
func readOwn(path string, limit int64, check func(fs.FileMode) error) ([]byte, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat() // of what is open, so that no other file can take its place in between
	if err != nil {
		return nil, err
	}
	if foreign(info) {
		return nil, refuse(path, "belongs to another user (uid %d); run: chown %d %s", owner(info), os.Geteuid(), path)
	}
	if err := check(info.Mode().Perm()); err != nil {
		return nil, err
	}
	return readAll(f, path, limit)
}

// CheckFolder returns an error unless path is a folder in which no other user but root can put or replace files: it
// must belong to the user that runs the program or to root, and be writable by its owner alone.
func CheckFolder(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return refuse(path, "not a folder")
	case foreign(info):
		return refuse(path, "belongs to another user (uid %d); run: chown %d %s", owner(info), os.Geteuid(), path)
	case info.Mode().Perm()&0o022 != 0:
		return refuse(path, "other users can change files in it (mode %04o); run: chmod go-w %s", info.Mode().Perm(), path)
	}
	return nil
}

// Same reports whether a file has not changed between two looks at it: it is the same one, of the same size and time.
// Two looks that found none, nil, are the same, too.
func Same(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// Exposed reports whether users other than the owner and the group of the file at path can read it.
func Exposed(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Perm()&0o007 != 0
}

func readAll(f *os.File, path string, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, refuse(path, "want a file of at most %d bytes", limit)
	}
	return data, nil
}

func refuse(path, format string, args ...any) error {
	return &fs.PathError{Op: "open", Path: path, Err: fmt.Errorf(format, args...)}
}

// Reason is err without the path, for callers that name the file themselves.
func Reason(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}
