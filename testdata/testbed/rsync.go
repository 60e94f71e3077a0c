package testbed

import (
	"bufio"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Rsync runs an rsync daemon, with global parameters and modules, until the test ends. It greets at addr, host and
// port, once Rsync returns.
func Rsync(t testing.TB, addr, conf string) {
	t.Helper()
	program := Need(t, "rsync", "rsync")
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	global := "use chroot = no\n"
	if os.Geteuid() == 0 { // or it would switch to a user that cannot enter temporary folders
		global += "uid = 0\ngid = 0\n"
	}
	file := filepath.Join(t.TempDir(), "rsyncd.conf")
	Put(t, file, global+conf)
	Start(t, exec.Command(program, "--daemon", "--no-detach", "--config", file, "--address", host, "--port", port))
	Eventually(t, "the rsync daemon at "+addr+" greets", func() bool { return greet(addr) == nil })
}

// greet waits for a daemon's greeting, and ends the conversation politely, so that the daemon's log has no complaint.
func greet(addr string) error {
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	in := bufio.NewReader(conn)
	if _, err := in.ReadString('\n'); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("@RSYNCD: 29\n#list\n")); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, in)
	return err
}
