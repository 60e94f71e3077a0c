//go:build linux

package systest

import (
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// delayed has all packets to and from a host take longer.
func (b *box) delayed(what, name string, by time.Duration) *fault {
	h := b.hosts[name]
	var mend func()
	return b.dead(what, name, func() { mend = h.delay(by) }, func() { mend() })
}

// delay takes the host from the bridge and carries its packets by hand, each after a while: not every kernel has a
// queue that delays (tc-netem(8)).
func (h *host) delay(by time.Duration) (mend func()) {
	h.t.Helper()
	lan := &host{box: h.box, name: "lan", ns: h.id + "-lan"}
	wire, far, near := "v-"+h.name, "far-"+h.name, "near-"+h.name
	h.ip("-n", lan.ns, "link", "add", near, "type", "veth", "peer", "name", far)
	h.ip("-n", lan.ns, "link", "set", near, "up")
	h.ip("-n", lan.ns, "link", "set", far, "master", "br0", "up")
	h.ip("-n", lan.ns, "link", "set", wire, "nomaster")
	a, err := lan.frames(wire)
	if err != nil {
		h.t.Fatal(err)
	}
	b, err := lan.frames(near)
	if err != nil {
		a.Close()
		h.t.Fatal(err)
	}
	var carrying sync.WaitGroup
	carrying.Go(func() { carry(a, b, by) })
	carrying.Go(func() { carry(b, a, by) })
	mend = sync.OnceFunc(func() {
		a.Close()
		b.Close()
		carrying.Wait()
		h.ip("-n", lan.ns, "link", "del", near)
		h.ip("-n", lan.ns, "link", "set", wire, "master", "br0")
	})
	h.t.Cleanup(mend)
	return mend
}

// frames opens a socket for what comes in at an interface of the host, and for sending there (packet(7)). Each frame
// has a header in front by which one socket tells the other what the kernel has left undone, such as the checksum.
func (h *host) frames(name string) (f *os.File, err error) {
	err = h.inside(func() error {
		link, err := net.InterfaceByName(name)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0) // nothing comes in before Bind
		if err != nil {
			return err
		}
		f = os.NewFile(uintptr(fd), name)
		for _, option := range []int{unix.PACKET_VNET_HDR, unix.PACKET_IGNORE_OUTGOING} {
			if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, option, 1); err != nil {
				return fmt.Errorf("option %d: %w", option, err)
			}
		}
		const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8 // in the network's byte order
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: link.Index})
	})
	if err != nil && f != nil {
		f.Close()
	}
	return f, err
}

// carry takes frames from one socket to another, each after a while, until from is closed.
func carry(from, to *os.File, after time.Duration) {
	type frame struct {
		due  time.Time
		text []byte
	}
	queue := make(chan frame, 10_000)
	var sending sync.WaitGroup
	sending.Go(func() {
		for f := range queue {
			time.Sleep(time.Until(f.due)) // the delay itself
			to.Write(f.text)              // what cannot be sent is lost, as packets are
		}
	})
	buf := make([]byte, 1<<17)
	for {
		n, err := from.Read(buf)
		if err != nil {
			break
		}
		select {
		case queue <- frame{time.Now().Add(after), append([]byte(nil), buf[:n]...)}:
		default:
		}
	}
	close(queue)
	sending.Wait()
}
