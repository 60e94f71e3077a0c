package redirector

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"mirrorpool/config"
	"mirrorpool/dnspool"
)

// TestFrontDeadlines has clients that take their time.
func TestFrontDeadlines(t *testing.T) {
	h := placedHandler(t, config.HTTP{Sticky: time.Hour, BasePath: "/pub/"})
	tests := map[string]struct {
		send func(client net.Conn)
		ends time.Duration
	}{
		"silence": {func(net.Conn) {}, readTime},
		"a request that does not end": {func(c net.Conn) {
			for _, piece := range strings.SplitAfter(browser, " ") {
				time.Sleep(readTime / 4) // in the bubble
				if _, err := io.WriteString(c, piece); err != nil {
					return
				}
			}
		}, readTime},
		"silence after a request": {func(c net.Conn) {
			time.Sleep(time.Second)
			io.WriteString(c, plainText)
		}, time.Second + idleTime},
		"requests of which half is always there": {func(c net.Conn) {
			text := strings.Repeat(plainText, 10)
			for at := 50; at < len(text); at += len(plainText) {
				io.WriteString(c, text[max(0, at-len(plainText)):at])
				time.Sleep(readTime - time.Second)
			}
		}, 9*(readTime-time.Second) + readTime},
		"half a request after one": {func(c net.Conn) {
			io.WriteString(c, plainText)
			time.Sleep(idleTime - time.Second)
			io.WriteString(c, plainText[:10])
		}, idleTime - time.Second + readTime},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, client := newPipe()
				f := newPlainServer(&limitedListener{l, newConnLimiter(), noProxies}, newServer(), h, zap.NewNop())
				go f.run()
				go f.wait()
				start := time.Now()
				var sending sync.WaitGroup
				sending.Go(func() { test.send(client) })
				if _, err := io.Copy(io.Discard, client); err != nil || time.Since(start) != test.ends {
					t.Errorf("it is cut off after %v, %v; want %v", time.Since(start), err, test.ends)
				}
				client.Close()
				sending.Wait()
				f.Close()
				if _, err := f.Accept(); !errors.Is(err, net.ErrClosed) {
					t.Errorf("Accept: %v", err)
				}
				if n := f.server.busy.Load(); n != 0 {
					t.Errorf("%d connections are said to be busy in the end", n)
				}
			})
		})
	}
}

// TestSlowReader has a client that does not read its answer.
func TestSlowReader(t *testing.T) {
	h := placedHandler(t, config.HTTP{Sticky: time.Hour, BasePath: "/pub/"})
	synctest.Test(t, func(t *testing.T) {
		l, client := newPipe()
		c, err := (&limitedListener{l, newConnLimiter(), noProxies}).Accept()
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		go io.WriteString(client, plainText)
		_, err = newPlainServer(l, newServer(), h, zap.NewNop()).answer(c.(*clientConn))
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != requestTime {
			t.Errorf("it ends after %v with %v, want %v", time.Since(start), err, requestTime)
		}
		client.Close()
	})
}

// TestStopWithOpenConnections stops a server while connections are silent, in the middle of a request, and between
// two: none holds it up, and what has begun is answered.
func TestStopWithOpenConnections(t *testing.T) {
	t.Parallel()
	s, stop := runServer(t)
	dial := func(text string) (net.Conn, *bufio.Reader) {
		conn, err := net.Dial("tcp", s.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprint(conn, text)
		return conn, bufio.NewReader(conn)
	}
	idle, fromIdle := dial(plainText)
	readAnswer(t, fromIdle)
	midway, fromMidway := dial(plainText + plainText[:20])
	readAnswer(t, fromMidway)
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	for !s.ending.Load() {
		runtime.Gosched()
	}
	fmt.Fprint(midway, plainText[20:])
	if resp := readAnswer(t, fromMidway); resp.StatusCode != http.StatusFound || !resp.Close {
		t.Errorf("what had begun is answered with %s, close: %v", resp.Status, resp.Close)
	}
	if _, err := fromIdle.ReadByte(); err != io.EOF {
		t.Errorf("the idle connection: %v", err)
	}
	<-stopped
	idle.Close()
}

// TestCutRequest has a client end its side in the middle of a request.
func TestCutRequest(t *testing.T) {
	t.Parallel()
	s, stop := runServer(t)
	defer stop()
	conn, err := net.Dial("tcp", s.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprint(conn, plainText+plainText[:20])
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	for i, want := range []int{http.StatusFound, http.StatusBadRequest} {
		if resp := readAnswer(t, in); resp.StatusCode != want {
			t.Errorf("answer %d is %s, want %d", i, resp.Status, want)
		}
	}
}

// TestCloseBeforeHandOver closes a plainServer that has a connection to hand over, which is not taken.
func TestCloseBeforeHandOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, client := newPipe()
		f := newPlainServer(&limitedListener{l, newConnLimiter(), noProxies}, newServer(),
			placedHandler(t, config.HTTP{BasePath: "/pub/"}), zap.NewNop())
		go f.run()
		go f.wait()
		if _, err := io.WriteString(client, "HEAD "); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := f.server.busy.Load(); n != 1 {
			t.Errorf("%d connections are said to be busy, want 1", n)
		}
		f.Close()
		if _, err := client.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the client reads %v, want the end", err)
		}
		<-f.ended
		if n := f.server.busy.Load(); n != 0 {
			t.Errorf("%d connections are said to be busy in the end", n)
		}
	})
}

// TestPanicEndsOneConnection has a request make the program panic: its connection ends, and that is logged.
func TestPanicEndsOneConnection(t *testing.T) {
	h := placedHandler(t, config.HTTP{BasePath: "/pub/"})
	h.Place = func(netip.Addr) dnspool.Place { panic("no such place") }
	core, logs := observer.New(zap.ErrorLevel)
	synctest.Test(t, func(t *testing.T) {
		l, client := newPipe()
		f := newPlainServer(&limitedListener{l, newConnLimiter(), noProxies}, newServer(), h, zap.New(core))
		go f.run()
		go f.wait()
		if _, err := io.WriteString(client, plainText); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the client reads %v, want the end", err)
		}
		f.Close()
		<-f.ended
	})
	if logs.FilterField(zap.Error(errors.New("panic: no such place"))).Len() != 1 {
		t.Errorf("it is logged: %v", logs.All())
	}
}

// failingListener fails as the kernel may.
type failingListener struct{ net.Listener }

func (failingListener) Accept() (net.Conn, error) { return nil, syscall.ENOBUFS }

// TestAcceptFails tells why a server cannot go on, though a client is connected.
func TestAcceptFails(t *testing.T) {
	t.Parallel()
	s, err := Listen(t.Context(), nil, config.HTTP{Listen: []string{"127.0.0.1:0"}},
		placedHandler(t, config.HTTP{BasePath: "/pub/"}), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	s.plainServers[0].Listener = failingListener{s.plainServers[0].Listener}
	if err := s.Run(t.Context()); !errors.Is(err, syscall.ENOBUFS) {
		t.Errorf("Run ends with %v", err)
	}
}
