package listen

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// UnixPrefix begins an address that is the path of a Unix socket.
const UnixPrefix = "unix:"

// unixMode lets the user and the group of the process connect, and no others.
const unixMode = 0o660

// A UnixListener is a listener at a path. The file goes with it, unless another process has put its own there.
type UnixListener struct {
	*net.UnixListener
	path  string
	file  os.FileInfo
	close sync.Once
	err   error
}

// Unix opens a listener at a path, which the user and the group of the process may connect to. It takes the place of a
// socket that is there, as a new copy of the program does; anything else there is an error.
func Unix(ctx context.Context, path string) (*UnixListener, error) {
	if err := checkUnix(path); err != nil {
		return nil, err
	}
	// Under its own name the socket never has another mode.
	temporary := path + ".new"
	if err := os.Remove(temporary); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", temporary)
	if err != nil {
		return nil, err
	}
	u := &UnixListener{UnixListener: l.(*net.UnixListener), path: path}
	u.SetUnlinkOnClose(false)
	err = os.Chmod(temporary, unixMode)
	if err == nil {
		u.file, err = os.Lstat(temporary)
	}
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		u.UnixListener.Close()
		os.Remove(temporary)
		return nil, err
	}
	return u, nil
}

// checkUnix returns an error where no socket can be put.
func checkUnix(path string) error {
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("%s is there already, and is no socket", path)
	}
	_, err := os.Stat(filepath.Dir(path))
	return err
}

// unixTaken reports whether another process answers at a path.
func unixTaken(ctx context.Context, path string) bool {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err == nil {
		conn.Close()
	}
	return err == nil
}

// UnixPath returns the path in an address that begins with UnixPrefix.
func UnixPath(addr string) (path string, ok bool) { return strings.CutPrefix(addr, UnixPrefix) }

// Accept returns the next connection.
func (l *UnixListener) Accept() (net.Conn, error) {
	c, err := l.AcceptUnix()
	if err != nil {
		return nil, ended(err)
	}
	return c, nil
}

// Close closes the listener at once.
func (l *UnixListener) Close() error {
	l.close.Do(func() {
		l.remove()
		l.err = l.UnixListener.Close()
	})
	return l.err
}

// Drain takes the socket's file away, and returns when clients that had begun to connect have been accepted, or ctx
// ends. Then Accept returns net.ErrClosed.
func (l *UnixListener) Drain(ctx context.Context, _ int) {
	l.remove()
	timer := time.NewTimer(handshakeTime)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	l.SetDeadline(time.Now())
}

func (l *UnixListener) remove() {
	if info, err := os.Lstat(l.path); err == nil && os.SameFile(info, l.file) {
		os.Remove(l.path) // if it fails, the next process takes its place
	}
}
