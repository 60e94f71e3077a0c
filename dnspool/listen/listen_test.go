package listen

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// accept accepts connections until the listener is closed or drained, and sends its name over each.
func accept(l *Listener, name string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		fmt.Fprint(c, name)
		c.Close()
	}
}

// a client that connects, and returns which listener accepts.
func who(t *testing.T, addr string) string {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 10)
	n, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func checkAddress(t *testing.T, o *Opener, network, addr string, wantTaken bool, want error) {
	t.Helper()
	if taken, err := o.Check(t.Context(), network, addr); taken != wantTaken || !errors.Is(err, want) {
		t.Errorf("%s %s: taken %v, error %v; want %v, %v", network, addr, taken, err, wantTaken, want)
	}
}

// TestCheck tries addresses that cannot be opened.
func TestCheck(t *testing.T) {
	t.Parallel()
	for _, alone := range []string{"127.0.0.1:0", "[::1]:0", ":0"} { // it does not share its address
		l, err := net.Listen(familyNetwork("tcp", alone), alone)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		host, _, _ := net.SplitHostPort(alone)
		addr := net.JoinHostPort(host, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
		checkAddress(t, nil, "tcp", addr, true, syscall.EADDRINUSE)
	}
	checkAddress(t, nil, "tcp", "192.0.2.1:5300", false, syscall.EADDRNOTAVAIL)
	checkAddress(t, nil, "udp", "[2001:db8::1]:5300", false, syscall.EADDRNOTAVAIL)
}

// TestDrain: once a process gives way, all new clients meet the other one, whichever of its sockets are closed first.
func TestDrain(t *testing.T) {
	t.Parallel()
	if !CanShare {
		t.Skip("sockets cannot share an address here")
	}
	const each = 3
	ctx := t.Context()
	addr := "127.0.0.1:0"
	open := func(name string) (all []*Listener) {
		for range each {
			l, err := (*Opener)(nil).TCP(ctx, addr)
			if err != nil {
				t.Fatal(err)
			}
			addr = l.Addr().String()
			t.Cleanup(func() { l.Close() })
			go accept(l, name)
			all = append(all, l)
		}
		return all
	}
	old := open("old")
	checkAddress(t, nil, "tcp", addr, true, nil) // by listeners that share it
	checkAddress(t, nil, "udp", addr, false, nil)
	next := open("next")
	seen := map[string]int{}
	for range 200 {
		seen[who(t, addr)]++
	}
	if seen["old"] == 0 || seen["next"] == 0 {
		t.Fatalf("clients meet %v, want both", seen)
	}
	for range 2 { // and once more, with what the first time has left behind
		for _, l := range old {
			giveWay(l.TCPListener, each)
		}
		for i := range each + 1 {
			for range 100 {
				if got := who(t, addr); got != "next" {
					t.Fatalf("after %d listeners were closed a client meets %s", i, got)
				}
			}
			if i < each {
				old[i].Close()
			}
		}
		for _, l := range next {
			l.Close()
		}
		old, next = open("old"), open("next")
	}
}

// TestDrainEnds: clients that have connected before are accepted, and then none.
func TestDrainEnds(t *testing.T) {
	t.Parallel()
	l, err := (*Opener)(nil).TCP(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	done := make(chan struct{})
	go func() { accept(l, "it"); close(done) }()
	l.Drain(t.Context(), 1)
	<-done
	buf := make([]byte, 2)
	if n, err := c.Read(buf); err != nil || string(buf[:n]) != "it" {
		t.Errorf("%q, %v", buf[:n], err)
	}
}

func TestOpener(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	o := &Opener{}
	for _, socket := range []interface{ File() (*os.File, error) }{l.(*net.TCPListener), c.(*net.UDPConn)} {
		file, err := socket.File()
		if err == nil {
			err = o.add(file)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := context.Background()
	addr := l.Addr().String()
	checkAddress(t, o, "tcp", addr, false, nil) // the sockets there are our own
	checkAddress(t, o, "udp", addr, false, nil)
	if !o.More(addr) {
		t.Error("there are no more sockets at the address")
	}
	tcp, err := o.TCP(ctx, addr)
	if err != nil || tcp.ours {
		t.Fatalf("%v, %+v", err, tcp)
	}
	defer tcp.Close()
	if o.More(addr) {
		t.Error("there is another listener")
	}
	udp, ours, err := o.UDP(ctx, addr)
	if err != nil || ours {
		t.Fatalf("%v, ours %v", err, ours)
	}
	defer udp.Close()
	if unused := o.Unused(); len(unused) != 0 {
		t.Errorf("unused: %v", unused)
	}
	l.Close()
	c.Close()
	go accept(tcp, "it")
	if got := who(t, addr); got != "it" {
		t.Errorf("%q answers", got)
	}
	start := time.Now()
	tcp.Drain(ctx, 1) // clients that come now wait for the next process
	if took := time.Since(start); took > handshakeTime {
		t.Errorf("it takes %v to stop using a socket that others keep", took)
	}
	pipe, _, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := o.add(pipe); err == nil {
		t.Error("a pipe is taken for a socket")
	}
}

func TestSame(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		addr, configured string
		want             bool
	}{
		{"127.0.0.1:53", "127.0.0.1:53", true}, {"127.0.0.1:53", "127.0.0.1:54", false}, {"127.0.0.1:53", "127.0.0.2:53", false},
		{"[::]:53", ":53", true}, {"[::]:53", "[::]:53", true}, {"0.0.0.0:53", ":53", true}, {"0.0.0.0:53", "0.0.0.0:53", true},
		{"0.0.0.0:53", "[::]:53", false}, {"[2001:db8::1]:53", "[2001:db8:0::1]:53", true}, {"127.0.0.1:53", "localhost:53", false},
		{"127.0.0.1:53", "no", false},
	} {
		addr, err := net.ResolveTCPAddr("tcp", tt.addr)
		if err != nil {
			t.Fatal(err)
		}
		if got := same(addr, tt.configured); got != tt.want {
			t.Errorf("%s and %s: %v", tt.addr, tt.configured, got)
		}
	}
}

// TestFromEnvironment is not parallel: the environment is shared.
func TestFromEnvironment(t *testing.T) {
	for _, tt := range []struct {
		pid, fds string
		fails    bool
	}{
		{"", "", false}, {"1", "3", false}, {strconv.Itoa(os.Getpid()), "many", true}, {strconv.Itoa(os.Getpid()), "-1", true},
		{strconv.Itoa(os.Getpid()), "2000000000", true},
	} {
		t.Setenv("LISTEN_PID", tt.pid)
		t.Setenv("LISTEN_FDS", tt.fds)
		if f, err := FromEnvironment(); f != nil || (err != nil) != tt.fails {
			t.Errorf("%+v: %v, %v", tt, f, err)
		}
		if os.Getenv("LISTEN_FDS") != "" {
			t.Error("the environment still tells of the sockets")
		}
	}
}
