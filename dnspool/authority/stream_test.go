package authority

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

// frame puts its length before a message.
func frame(msg []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)
}

// readFrame reads one response.
func readFrame(t *testing.T, r io.Reader) *dns.Msg {
	t.Helper()
	var prefix [2]byte
	if _, err := io.ReadFull(r, prefix[:]); err != nil {
		t.Fatal(err)
	}
	packed := make([]byte, binary.BigEndian.Uint16(prefix[:]))
	if _, err := io.ReadFull(r, packed); err != nil {
		t.Fatal(err)
	}
	m := new(dns.Msg)
	if err := m.Unpack(packed); err != nil {
		t.Fatal(err)
	}
	return m
}

func dialTCP(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	return conn.(*net.TCPConn)
}

// mixedQueries are n queries, some of which only miekg/dns answers, with their numbers as ids.
func mixedQueries(t *testing.T, n int) (queries [][]byte) {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	for id := range n {
		qtype := []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeMX, dns.TypeANY, dns.TypeAXFR}[r.IntN(5)]
		q := truthQuery(t, r, truthNames[r.IntN(len(truthNames))], qtype, -1+r.IntN(2)*1233)
		binary.BigEndian.PutUint16(q, uint16(id))
		queries = append(queries, q)
	}
	return queries
}

// TestPipelining sends many queries in one segment, in others cut at odd places, and byte by byte.
func TestPipelining(t *testing.T) {
	t.Parallel()
	s, addr := startServer(t, "127.0.0.1:0")
	s.publish(testSnapshot(t, 6, 2))
	const n = 300
	var stream []byte
	for _, q := range mixedQueries(t, n) {
		stream = append(stream, frame(q)...)
	}
	for name, pieces := range map[string]int{"at once": len(stream), "in pieces of 1000": 1000, "in pieces of 7": 7,
		"byte by byte": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := dialTCP(t, addr)
			sent := make(chan error, 1)
			go func() {
				for rest := stream; len(rest) > 0; {
					size := min(pieces, len(rest))
					if _, err := conn.Write(rest[:size]); err != nil {
						sent <- err
						return
					}
					rest = rest[size:]
				}
				sent <- conn.CloseWrite() // RFC 7766 section 6.2.4: what was asked before is answered
			}()
			for id := range n {
				if m := readFrame(t, conn); int(m.Id) != id || !m.Response {
					t.Fatalf("response %d has the id %d", id, m.Id)
				}
			}
			if err := <-sent; err != nil {
				t.Error(err)
			}
			if n, err := conn.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("%d bytes more, %v; want the end", n, err)
			}
		})
	}
}

// TestLongMessages sends the longest messages there are, between other queries: they are judged as short ones are.
func TestLongMessages(t *testing.T) {
	t.Parallel()
	s, addr := startServer(t, "127.0.0.1:0")
	s.publish(testSnapshot(t, 1, 2))
	conn := dialTCP(t, addr)
	padded := func(bytes int, options ...dns.EDNS0) []byte {
		m := new(dns.Msg).SetQuestion("dl.example.org.", dns.TypeA)
		m.SetEdns0(1232, false)
		m.IsEdns0().Option = append(options, &dns.EDNS0_PADDING{})
		m.IsEdns0().Option[len(options)] = &dns.EDNS0_PADDING{Padding: make([]byte, bytes-m.Len())}
		packed, err := m.Pack()
		if err != nil || len(packed) != bytes {
			t.Fatalf("%d bytes, %v; want %d", len(packed), err, bytes)
		}
		return packed
	}
	plain := truthQuery(t, rand.New(rand.NewPCG(1, 2)), "dl.example.org.", dns.TypeA, -1)
	twoOPT := append(padded(20_000), padded(100)[len(plain):]...)
	twoOPT[11] = 2
	var stream []byte
	want := []int{}
	for _, q := range []struct {
		message []byte
		rcode   int
	}{
		{plain, dns.RcodeSuccess},
		// what follows the message is ignored
		{append(bytes.Clone(plain), make([]byte, dns.MaxMsgSize-len(plain))...), dns.RcodeSuccess},
		{padded(dns.MaxMsgSize), dns.RcodeSuccess},
		{padded(maxStreamBuffer + 1), dns.RcodeSuccess},
		{twoOPT, dns.RcodeFormatError},                                                                   // RFC 6891 section 6.1.1
		{padded(40_000, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0011"}), dns.RcodeFormatError}, // RFC 7873 section 5.2.2
		{plain, dns.RcodeSuccess},
	} {
		stream, want = append(stream, frame(q.message)...), append(want, q.rcode)
	}
	go conn.Write(stream)
	for i, rcode := range want {
		if m := readFrame(t, conn); m.Rcode != rcode || len(m.Answer) != 1 && rcode == dns.RcodeSuccess {
			t.Errorf("response %d is %s with %d answers, want %s", i, dns.RcodeToString[m.Rcode], len(m.Answer), dns.RcodeToString[rcode])
		}
	}
}

// TestBufferOfLongMessages wants a connection to hold memory for what came in, not for what is announced, and to give
// it back.
func TestBufferOfLongMessages(t *testing.T) {
	t.Parallel()
	zone := newTruth(t, 6, 2).fast.zone
	plain := frame(truthQuery(t, rand.New(rand.NewPCG(1, 2)), "dl.example.org.", dns.TypeA, -1))
	announced := &scriptedConn{r: bytes.NewReader([]byte{0xff, 0xff, 1, 2, 3})}
	c := newStreamConn(announced, newFastPath(zone, new(tally)), newConnLimiter())
	if _, err := io.ReadAll(c); err != nil || cap(c.in) > minStreamBuffer {
		t.Errorf("%d bytes for a message that does not come, %v", cap(c.in), err)
	}
	after := &scriptedConn{r: io.MultiReader(bytes.NewReader(frame(make([]byte, dns.MaxMsgSize))), bytes.NewReader(plain),
		bytes.NewReader(plain))}
	c = newStreamConn(after, newFastPath(zone, new(tally)), newConnLimiter())
	if _, err := io.ReadAll(c); err != nil || cap(c.in) > minStreamBuffer {
		t.Errorf("%d bytes after a long message, %v", cap(c.in), err)
	}
}

// TestSilenceDuringLongAnswer has a client that is silent while it gets a long answer, for longer than it may be
// otherwise. When it asks again in the middle of that, it is answered at once; and after the end it has time for
// another query.
func TestSilenceDuringLongAnswer(t *testing.T) {
	zone := newTruth(t, 6, 2).fast.zone
	plain := frame(truthQuery(t, rand.New(rand.NewPCG(1, 2)), "dl.example.org.", dns.TypeA, -1))
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer client.Close()
		c := newStreamConn(server, newFastPath(zone, new(tally)), newConnLimiter())
		start, ended := time.Now(), make(chan error)
		c.SetReadDeadline(start.Add(idleTime))
		c.alongside(func() { time.Sleep(3*idleTime + 5*time.Second) }) // in the bubble
		go func() {
			_, err := c.Read(make([]byte, 1))
			ended <- err
		}()
		for _, at := range []time.Duration{idleTime + time.Second, 4 * idleTime} {
			time.Sleep(at - time.Since(start))
			if _, err := client.Write(plain); err != nil {
				t.Fatal(err)
			}
			if readFrame(t, client); time.Since(start) != at {
				t.Errorf("the answer to what was asked at %v comes at %v", at, time.Since(start))
			}
		}
		// of which one is for the long answer
		if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != 6*idleTime {
			t.Errorf("it ends with %v after %v", err, time.Since(start))
		}
	})
}

// TestNothingFollowsPart has a client that reads half of a message, too late: it gets no other one in place of the
// rest.
func TestNothingFollowsPart(t *testing.T) {
	zone := newTruth(t, 6, 2).fast.zone
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer client.Close()
		c := newStreamConn(server, newFastPath(zone, new(tally)), newConnLimiter())
		go io.ReadFull(client, make([]byte, 50))
		if err := c.send(make([]byte, 100)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("half a message is sent with %v", err)
		}
		if rest, err := io.ReadAll(client); len(rest) > 0 || err != nil {
			t.Errorf("%d bytes more, %v; want the end", len(rest), err)
		}
		if err := c.send(make([]byte, 100)); err == nil {
			t.Error("another message is sent after half of one")
		}
	})
}

// TestShutdownEndsConnections has a client that does not go away.
func TestShutdownEndsConnections(t *testing.T) {
	t.Parallel()
	s, addr := startServer(t, "127.0.0.1:0") // its cleanup fails if Run does not end
	s.publish(testSnapshot(t, 1, 2))
	conn := dialTCP(t, addr)
	plain := truthQuery(t, rand.New(rand.NewPCG(1, 2)), "dl.example.org.", dns.TypeA, -1)
	for range 3 {
		if _, err := conn.Write(frame(plain)); err != nil {
			t.Fatal(err)
		}
		readFrame(t, conn)
	}
}

// scriptedConn is a connection on which a reader's bytes come in.
type scriptedConn struct {
	net.Conn
	r   io.Reader
	out []byte
}

func (c *scriptedConn) Read(p []byte) (int, error)  { return c.r.Read(p) }
func (c *scriptedConn) Write(p []byte) (int, error) { c.out = append(c.out, p...); return len(p), nil }
func (c *scriptedConn) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(198, 51, 100, 7), Port: 5353}
}
func (c *scriptedConn) SetReadDeadline(time.Time) error  { return nil }
func (c *scriptedConn) SetWriteDeadline(time.Time) error { return nil }

// FuzzStream asserts that each message is either answered or passed on, in order and whole, however the
// stream is cut.
func FuzzStream(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	plain := frame(truthQuery(f, r, "dl.example.org.", dns.TypeA, -1))
	f.Add(append(plain, plain...))
	f.Add(append(append([]byte{0, 0}, plain...), 0, 5, 1, 2))
	f.Add([]byte{0xff, 0xff, 1, 2, 3})
	zone := newTruth(f, 6, 2).fast.zone
	f.Fuzz(func(t *testing.T, stream []byte) {
		var results [2]string
		for i, reader := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.OneByteReader} {
			under := &scriptedConn{r: reader(&sliceReader{stream})}
			c := newStreamConn(under, newFastPath(zone, new(tally)), newConnLimiter())
			c.fast.next = [2]uint32{}
			passed, err := io.ReadAll(c)
			if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatal(err)
			}
			if longest := max(maxStreamBuffer, prefixSize+dns.MaxMsgSize); cap(c.in) > min(longest, max(8*len(stream), minStreamBuffer)) {
				t.Fatalf("buffer of %d bytes for %d", cap(c.in), len(stream))
			}
			results[i] = string(passed) + "|" + string(under.out)
		}
		if results[0] != results[1] {
			t.Fatalf("at once: %x\nbyte by byte: %x", results[0], results[1])
		}
	})
}

type sliceReader struct{ rest []byte }

func (r *sliceReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// TestWriteDeadlines has a client that is silent for longer than a write may take, and one that does not read.
func TestWriteDeadlines(t *testing.T) {
	zone := newTruth(t, 6, 2).fast.zone
	plain := frame(truthQuery(t, rand.New(rand.NewPCG(1, 2)), "dl.example.org.", dns.TypeA, -1))
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer client.Close()
		c := newStreamConn(server, newFastPath(zone, new(tally)), newConnLimiter())
		defer c.Close()
		go c.Read(make([]byte, 1)) // which answers
		if _, err := client.Write(plain); err != nil {
			t.Fatal(err)
		}
		readFrame(t, client)
		time.Sleep(2 * writeTime) // in the bubble

		go io.ReadFull(client, make([]byte, 5))
		if _, err := c.Write([]byte("later")); err != nil {
			t.Errorf("what miekg/dns answers later is not sent: %v", err)
		}
		start := time.Now()
		if _, err := c.Write([]byte("unread")); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != writeTime {
			t.Errorf("to a client that does not read: %v after %v, want a time-out after %v", err, time.Since(start), writeTime)
		}
	})
}

// TestManyLongAnswers asks for much more than is kept to be sent at a time, in one go, and waits.
func TestManyLongAnswers(t *testing.T) {
	t.Parallel()
	s, addr := startServer(t, "127.0.0.1:0")
	s.publish(testSnapshot(t, 200, 200))
	conn := dialTCP(t, addr)
	plain := frame(truthQuery(t, rand.New(rand.NewPCG(1, 2)), "dl.example.org.", dns.TypeA, -1))
	const n = 500
	go conn.Write(append(frame(make([]byte, 600)), bytes.Repeat(plain, n)...)) // the first makes the buffer grow
	if m := readFrame(t, conn); m.Rcode != dns.RcodeFormatError {
		t.Errorf("to a message without a question: %v, want FORMERR", m)
	}
	for i := range n {
		if m := readFrame(t, conn); len(m.Answer) != 200 {
			t.Fatalf("response %d has %d answers", i, len(m.Answer))
		}
	}
}
