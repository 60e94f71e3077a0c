package rsync

import (
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"time"
)

// Flags of an entry (rsync.h, XMIT_*; rsync(5), "File list"). Those that concern
// owners, devices and hard links announce fields which come only if asked for.
const (
	flagSameMode = 1 << 1
	flagExtended = 1 << 2 // a second byte of flags follows; from version 28 on
	flagSameName = 1 << 5 // the name begins like the one before it
	flagLongName = 1 << 6 // the name's length takes four bytes, not one
	flagSameTime = 1 << 7
)

// File types in an entry's mode. The values are those of Unix whatever the
// daemon runs on (flist.c, to_wire_mode).
const (
	modeType      = 0o170000
	modeRegular   = 0o100000
	modeDirectory = 0o040000
	modeSymlink   = 0o120000
)

// An entry is one file of a list, as sent.
type entry struct {
	name  string
	size  int64
	mtime uint32 // seconds since 1970
	mode  uint32
}

// file judges an entry: only a regular file has a size and time worth comparing.
func (e entry) file() (File, error) {
	switch e.mode & modeType {
	case modeRegular:
		return File{
			Size:    e.size,
			ModTime: time.Unix(int64(e.mtime), 0).UTC(),
			Mode:    fs.FileMode(e.mode & 0o777),
		}, nil
	case modeDirectory:
		return File{}, fmt.Errorf("%w: it is a directory", ErrNoFile)
	case modeSymlink:
		return File{}, fmt.Errorf("%w: it is a symbolic link", ErrNoFile)
	}
	return File{}, fmt.Errorf("%w: it is not a regular file (mode %o)", ErrNoFile, e.mode)
}

// findEntry reads a file list to its end and returns the entry of that name. Other
// entries, such as the "." of a directory, are passed over.
func findEntry(r io.Reader, version int, name string) (e entry, found bool, err error) {
	l := lister{r: r, version: version}
	for range maxEntries {
		next, more, err := l.next()
		if err != nil {
			return entry{}, false, err
		}
		if !more {
			// Before version 30 the sender's count of I/O errors follows the list.
			// It says nothing that the entry, or its absence, does not say.
			_, err := readInt(r)
			return e, found, err
		}
		if !found && next.name == name {
			e, found = next, true
		}
	}
	return entry{}, false, fmt.Errorf("%w: it lists more than %d files where one was asked for",
		ErrProtocol, maxEntries)
}

// A lister decodes a file list. An entry may repeat parts of the one before it.
type lister struct {
	r       io.Reader
	version int
	last    entry
}

// next decodes one entry. more is false at the end of the list.
func (l *lister) next() (e entry, more bool, err error) {
	flags, err := l.readFlags()
	if err != nil || flags == 0 {
		return entry{}, false, err
	}
	e = l.last
	if e.name, err = l.readName(flags); err != nil {
		return entry{}, false, err
	}
	if e.size, err = l.readLong(); err != nil {
		return entry{}, false, err
	}
	if e.size < 0 {
		return entry{}, false, fmt.Errorf("%w: file size %d", ErrProtocol, e.size)
	}
	if flags&flagSameTime == 0 {
		t, err := readInt(l.r)
		if err != nil {
			return entry{}, false, err
		}
		e.mtime = uint32(t)
	}
	if flags&flagSameMode == 0 {
		m, err := readInt(l.r)
		if err != nil {
			return entry{}, false, err
		}
		e.mode = uint32(m)
	}
	l.last = e
	return e, true, nil
}

// readFlags returns the first byte of an entry's flags, zero at the list's end. The
// second byte, if there is one, concerns nothing that we ask for.
func (l *lister) readFlags() (byte, error) {
	flags, err := l.readByte()
	if err == nil && l.version >= 28 && flags&flagExtended != 0 {
		_, err = l.readByte()
	}
	return flags, err
}

// readName reads a name: how much of the last name to keep, the length of the rest,
// and the rest.
func (l *lister) readName(flags byte) (string, error) {
	kept, length := 0, 0
	if flags&flagSameName != 0 {
		b, err := l.readByte()
		if err != nil {
			return "", err
		}
		kept = int(b)
	}
	if flags&flagLongName != 0 {
		n, err := readInt(l.r)
		if err != nil {
			return "", err
		}
		length = int(n)
	} else {
		b, err := l.readByte()
		if err != nil {
			return "", err
		}
		length = int(b)
	}
	if kept > len(l.last.name) || length < 0 || length > maxName-kept || kept+length == 0 {
		return "", fmt.Errorf("%w: file name of %d new bytes after %d of %d old ones",
			ErrProtocol, length, kept, len(l.last.name))
	}
	name := make([]byte, kept+length)
	copy(name, l.last.name[:kept])
	_, err := io.ReadFull(l.r, name[kept:])
	return string(name), err
}

// readLong reads an integer that may need 64 bits: if the first 32 are all ones, the
// value follows in full (io.c, read_longint).
func (l *lister) readLong() (int64, error) {
	n, err := readInt(l.r)
	if err != nil || n != -1 {
		return int64(n), err
	}
	var b [8]byte
	_, err = io.ReadFull(l.r, b[:])
	return int64(binary.LittleEndian.Uint64(b[:])), err
}

func (l *lister) readByte() (byte, error) {
	var b [1]byte
	_, err := io.ReadFull(l.r, b[:])
	return b[0], err
}
