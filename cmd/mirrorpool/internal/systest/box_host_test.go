//go:build linux

package systest

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"mirrorpool/testdata/testbed"
)

// addresses are those of both families.
func (h *host) addresses() []netip.Addr {
	if !h.v6.IsValid() {
		return []netip.Addr{h.v4}
	}
	return []netip.Addr{h.v4, h.v6}
}

// at is where a service of the host is found: by name and at the usual port, or on loopback, where only addresses lead
// somewhere, by address.
func (h *host) at(port string) string {
	if h.local {
		return net.JoinHostPort(h.v4.String(), port)
	}
	return h.name + ".example.org"
}

// self is where the host finds itself.
func (h *host) self(port string) string {
	if h.local {
		return net.JoinHostPort(h.v4.String(), port)
	}
	return net.JoinHostPort("127.0.0.1", port)
}

// everywhere is all of the host's addresses, to listen there.
func (h *host) everywhere(port string) []string {
	if h.local {
		return []string{h.self(port)}
	}
	return []string{"0.0.0.0:" + port, "[::]:" + port}
}

// write writes a file in the box's folder, all at once, and returns its path.
func (b *box) write(name, text string) string {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		b.t.Fatal(err)
	}
	return path
}

// A process runs on a host.
type process struct {
	cmd  *exec.Cmd
	log  *testbed.Log
	done chan struct{}
	stop func() // kills it
}

// command runs a program on the host. Its resolver is the box's, but on loopback, where nothing there resolves names.
func (h *host) command(ctx context.Context, args ...string) *exec.Cmd {
	if !h.local {
		script := fmt.Sprintf(`mount --bind %s/resolv.conf /etc/resolv.conf && exec "$0" "$@"`, h.dir)
		args = append([]string{"ip", "netns", "exec", h.ns, "sh", "-c", script}, args...)
	}
	return exec.CommandContext(ctx, args[0], args[1:]...)
}

// start runs a program on the host until the test ends.
func (h *host) start(env []string, args ...string) *process {
	h.t.Helper()
	p := &process{log: &testbed.Log{}, done: make(chan struct{})}
	p.cmd = h.command(context.Background(), args...)
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	go func() { p.cmd.Wait(); close(p.done) }()
	p.stop = func() {
		p.cmd.Process.Kill()
		<-p.done
	}
	h.t.Cleanup(func() {
		p.stop()
		if h.t.Failed() && !strings.HasPrefix(h.name, "m") {
			h.t.Logf("%s on %s:\n%s", args[0], h.name, tail(p.log.String(), 6000))
		}
	})
	return p
}

func tail(text string, n int) string { return text[max(0, len(text)-n):] }

// inside runs f in the host's namespace: sockets that it opens belong there.
func (h *host) inside(f func() error) error {
	if h.local {
		return f()
	}
	return inNetwork("/run/netns/"+h.ns, f)
}

// inNetwork runs f in the network namespace that a file stands for.
func inNetwork(file string, f func() error) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer home.Close()
	there, err := os.Open(file)
	if err != nil {
		return err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	err = f()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		return back // the thread stays locked, and so ends with this goroutine
	}
	runtime.UnlockOSThread()
	return err
}

// dial connects to an address from the host.
func (h *host) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = h.inside(func() error {
		var d net.Dialer
		conn, err = d.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// listen listens on all of the host's addresses.
func (h *host) listen(port string) net.Listener {
	h.t.Helper()
	address := ":" + port
	if h.local {
		address = h.self(port)
	}
	var l net.Listener
	err := h.inside(func() (err error) {
		l, err = net.Listen("tcp", address)
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return l
}
