//go:build unix

package safefile

import (
	"io/fs"
	"os"
	"syscall"
)

const nonblock = syscall.O_NONBLOCK

// owner returns the numeric user id that a file belongs to.
func owner(info fs.FileInfo) int {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(stat.Uid)
	}
	return os.Geteuid()
}

// foreign reports whether a file belongs to a user that is neither the program's own nor root.
func foreign(info fs.FileInfo) bool {
	id := owner(info)
	return id != 0 && id != os.Geteuid()
}
