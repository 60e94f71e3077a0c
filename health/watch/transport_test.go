package watch

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"mirrorpool/testdata/testbed"
)

// openTransport opens a transport at an address of loopback. A member is expected at another one.
func openTransport(t *testing.T, ctx context.Context, address string, member netip.Addr) (tr *transport, at string) {
	t.Helper()
	port := testbed.FreePort(t, address)
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	tr, err = newTransport(ctx, &memberlist.NetTransportConfig{BindAddrs: []string{address}, BindPort: number,
		Logger: log.New(io.Discard, "", 0)}, func(addr netip.Addr) bool { return addr == member })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.Shutdown(); err != nil {
			t.Error(err)
		}
	})
	return tr, net.JoinHostPort(address, port)
}

// dialFrom connects to a transport from an address, and says whether it takes the connection.
func dialFrom(t *testing.T, tr *transport, from, to string) (client, server net.Conn) {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	client, err := d.DialContext(t.Context(), "tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	refused := make(chan struct{})
	go func() {
		client.Read(make([]byte, 1)) // nothing is sent
		close(refused)
	}()
	select {
	case server = <-tr.StreamCh():
		t.Cleanup(func() { server.Close() })
		return client, server
	case <-refused:
		return client, nil
	}
}

// TestStrangersAreBounded: hosts that are no members get a few connections each, and some in all. A member gets its
// own.
func TestStrangersAreBounded(t *testing.T) {
	t.Parallel()
	tr, at := openTransport(t, t.Context(), "127.0.24.51", netip.MustParseAddr("127.0.24.52"))
	var taken []net.Conn
	for i := range 3 * maxFromStranger {
		_, server := dialFrom(t, tr, "127.0.25.1", at)
		if (server != nil) != (i < maxFromStranger) {
			t.Errorf("connection %d from one address is taken: %v", i+1, server != nil)
		}
		if server != nil {
			taken = append(taken, server)
		}
	}
	for i := 2; len(taken) < maxStrangers; i++ {
		_, server := dialFrom(t, tr, "127.0.25."+strconv.Itoa(i), at)
		if server == nil {
			t.Fatalf("connection %d in all is refused", len(taken)+1)
		}
		taken = append(taken, server)
	}
	if _, server := dialFrom(t, tr, "127.0.25.200", at); server != nil {
		t.Error("there is no limit in all")
	}
	for i := range maxFromMember {
		if _, server := dialFrom(t, tr, "127.0.24.52", at); server == nil {
			t.Fatalf("connection %d of a member is refused", i+1)
		}
	}
	if _, server := dialFrom(t, tr, "127.0.24.52", at); server != nil {
		t.Error("there is no limit for a member")
	}
	taken[0].Close()
	taken[0].Close()
	if _, server := dialFrom(t, tr, "127.0.25.200", at); server == nil {
		t.Error("no room after a connection was closed")
	}
	if _, server := dialFrom(t, tr, "127.0.25.201", at); server != nil {
		t.Error("a connection that is closed twice makes room for two")
	}
}

// TestBytesOfStrangersAreBounded: so is what all of them send before it can be decrypted. What a member sends is taken
// meanwhile.
func TestBytesOfStrangersAreBounded(t *testing.T) {
	t.Parallel()
	tr, at := openTransport(t, t.Context(), "127.0.24.53", netip.MustParseAddr("127.0.24.54"))
	const message = 20 << 20
	send := func(client net.Conn) {
		chunk := make([]byte, 64<<10)
		for range message / len(chunk) {
			if _, err := client.Write(chunk); err != nil {
				return
			}
		}
	}
	var got atomic.Int64
	var reading sync.WaitGroup
	refused := make(chan error, 8)
	for i := range cap(refused) {
		client, server := dialFrom(t, tr, "127.0.25."+strconv.Itoa(100+i), at)
		go send(client)
		reading.Go(func() { // and holds on to it
			n, err := io.CopyN(io.Discard, server, message)
			got.Add(n)
			refused <- err
		})
	}
	reading.Wait()
	whole := 0
	for range cap(refused) {
		if err := <-refused; err == nil {
			whole++
		} else if !errors.Is(err, errStrangerBytes) {
			t.Error(err)
		}
	}
	if n := got.Load(); n > maxStrangerBytes || whole > maxStrangerBytes/message {
		t.Errorf("%d bytes of strangers are held, and %d messages of them", n, whole)
	}
	client, server := dialFrom(t, tr, "127.0.24.54", at)
	go send(client)
	if n, err := io.CopyN(io.Discard, server, message); err != nil {
		t.Errorf("%d bytes of a member, and then %v", n, err)
	}
}

// TestSendIsBounded: sending to a host that does not read ends after a while, and when the group stops.
func TestSendIsBounded(t *testing.T) {
	t.Parallel()
	for _, stops := range []bool{true, false} {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		tr, _ := openTransport(t, ctx, "127.0.24.55", netip.Addr{})
		if !stops {
			tr.sending = 100 * time.Millisecond
		}
		l, err := net.Listen("tcp", "127.0.24.56:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		conn, err := tr.DialTimeout(l.Addr().String(), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		sent := make(chan error, 1)
		go func() {
			_, err := conn.Write(make([]byte, 64<<20))
			sent <- err
		}()
		if stops {
			cancel()
		}
		if err := <-sent; stops != errors.Is(err, net.ErrClosed) || err == nil {
			t.Errorf("stops %v: sent with %v", stops, err)
		}
		conn.Close()
	}
}
