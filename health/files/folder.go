package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"slices"
	"syscall"
)

const (
	maxDepth  = 64   // folders below one another
	folderLot = 1024 // entries read at a time
)

// ReadFolder adds what is in a folder. It follows symbolic links that stay within it; one that leads to a folder above
// itself is passed over, and so is what disappears meanwhile.
func ReadFolder(ctx context.Context, dir string, c *Collector) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	top, err := root.Stat(".")
	if err != nil {
		return err
	}
	w := walk{ctx, root, c}
	return w.folder("", []fs.FileInfo{top})
}

// A walk goes through a folder.
type walk struct {
	ctx  context.Context
	root *os.Root
	into *Collector
}

// folder adds what is in a folder. above are the folders that lead to it, with itself.
func (w *walk) folder(name string, above []fs.FileInfo) error {
	f, err := w.root.Open(path.Join(".", name))
	if err != nil {
		if name == "" || unreadable(err) {
			return err
		}
		return nil
	}
	defer f.Close()
	for w.ctx.Err() == nil {
		entries, err := f.ReadDir(folderLot)
		for _, e := range entries {
			if err := w.entry(path.Join(name, e.Name()), e, above); err != nil {
				return err
			}
		}
		if unreadable(err) {
			return err
		}
		if len(entries) == 0 || err != nil {
			return w.ctx.Err() // what cannot be read to its end is as if it ended there
		}
	}
	return w.ctx.Err()
}

// entry adds a file, or a folder with what is in it.
func (w *walk) entry(name string, e fs.DirEntry, above []fs.FileInfo) error {
	info, err := e.Info()
	if e.Type()&fs.ModeSymlink != 0 {
		info, err = w.root.Stat(name)
	}
	switch {
	case unreadable(err):
		return err
	case err != nil: // gone, or a link that leads nowhere or outside
		return nil
	case info.Mode().IsRegular():
		return w.into.Add(name, info.Size(), unixTime(info))
	case !info.IsDir() || len(above) == maxDepth:
		return nil
	}
	for _, other := range above {
		if os.SameFile(other, info) {
			return nil
		}
	}
	if err := w.into.AddFolder(name); err != nil {
		return err
	}
	return w.folder(name, append(above[:len(above):len(above)], info))
}

// unreadable reports whether an error says nothing of a file, but that this host cannot look.
func unreadable(err error) bool {
	return slices.ContainsFunc([]error{syscall.EMFILE, syscall.ENFILE, syscall.EIO, syscall.ENOMEM, syscall.ESTALE}, func(local error) bool {
		return errors.Is(err, local)
	})
}

// unixTime returns a file's time as the rsync protocol has it.
func unixTime(info fs.FileInfo) uint32 {
	return uint32(min(max(info.ModTime().Unix(), 0), math.MaxUint32))
}

// OpenInFolder opens the file at a path below a folder. Symbolic links may not lead out of it.
func OpenInFolder(dir, name string) (*os.File, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.Open(path.Join(".", name))
}

// StatFolder asks a folder for one path below it. The error is fs.ErrNotExist if there is none.
func StatFolder(dir, name string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("opening the origin: %v", err) // not fs.ErrNotExist, which would be about the path
	}
	defer root.Close()
	if _, err = root.Stat(path.Join(".", name)); unreadable(err) {
		return fmt.Errorf("looking into the origin: %v", err)
	} else if err != nil {
		return fs.ErrNotExist // or a link that leads outside, or a file where the path has a folder
	}
	return nil
}
