//go:build unix

package daemon

import (
	"fmt"
	"os"
	"syscall"
)

// isJournal reports whether w is the stream to systemd's journal that JOURNAL_STREAM names: a device and an inode,
// see systemd.exec(5).
func isJournal(w any, stream string) bool {
	file, ok := w.(*os.File)
	if !ok || stream == "" {
		return false
	}
	info, err := file.Stat()
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stream == fmt.Sprintf("%d:%d", stat.Dev, stat.Ino)
}
