package systest

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A manager is what of a service manager is needed to be told how a service is.
type manager struct {
	conn *net.UnixConn
	path string
}

func newManager(t *testing.T) *manager {
	t.Helper()
	dir, err := os.MkdirTemp("", "manager") // t.TempDir may be too long a name for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	m := &manager{path: filepath.Join(dir, "notify")}
	if m.conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.path, Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.conn.Close() })
	return m
}

func (m *manager) env() []string { return []string{"NOTIFY_SOCKET=" + m.path, "WATCHDOG_USEC=400000"} }

// expect waits until the manager gets a message, whatever comes before.
func (m *manager) expect(t *testing.T, want string) {
	t.Helper()
	m.conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	buf := make([]byte, 4096)
	for {
		n, err := m.conn.Read(buf)
		if err != nil {
			t.Fatalf("the service manager waits for %s: %v", want, err)
		}
		if strings.HasPrefix(string(buf[:n]), want) {
			return
		}
	}
}

// startActivated runs mirrorpool with sockets. A shell says for whom they are, as only the process itself knows its
// number before it runs.
func startActivated(t *testing.T, sockets []*os.File, env []string, args ...string) *program {
	t.Helper()
	path, err := buildProgram()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", append([]string{"-c", `LISTEN_PID=$$ exec "$@"`, "sh", path}, args...)...)
	cmd.Env = append(append(os.Environ(), env...), "LISTEN_FDS="+strconv.Itoa(len(sockets)))
	cmd.ExtraFiles = sockets
	return runProgram(t, cmd)
}
