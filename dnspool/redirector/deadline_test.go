package redirector

import (
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// deadlines is a connection that notes the deadlines for writes that it is given.
type deadlines struct {
	net.Conn
	set []time.Time
}

func (d *deadlines) SetWriteDeadline(t time.Time) error { d.set = append(d.set, t); return nil }
func (d *deadlines) SetReadDeadline(time.Time) error    { return nil }

func TestWriteDeadlines(t *testing.T) {
	t.Parallel()
	d := &deadlines{}
	c := &coarseDeadlineConn{Conn: d}
	start := time.Now()
	after := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	for _, step := range []struct {
		at  time.Time
		set bool
	}{
		{after(0), true}, {after(0), false}, {after(500), false}, {after(1000), false}, {after(1001), true}, {after(2000), false},
		{after(900), true}, {time.Time{}, true}, {after(900), true}, {after(901), false}, {time.Unix(1, 0), true}, {after(1000), true},
	} {
		n := len(d.set)
		if err := c.SetDeadline(step.at); err != nil || (len(d.set) > n) != step.set || step.set && !d.set[n].Equal(step.at) {
			t.Errorf("%v after the start: %v, want set: %v", step.at.Sub(start), d.set[n:], step.set)
		}
	}
}

// TestReadDeadlines does the same at random to a lazy connection and to a plain one: each read has to end at the same
// time and in the same way.
func TestReadDeadlines(t *testing.T) {
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			plain, plainPeer := net.Pipe()
			under, lazyPeer := net.Pipe()
			lazy := &coarseDeadlineConn{Conn: under}
			defer plain.Close()
			defer under.Close()
			for range 50 {
				deadline := []time.Time{{}, time.Unix(1, 0), time.Now(), time.Now().Add(time.Duration(r.IntN(9000)) * time.Millisecond),
					time.Now().Add(5 * time.Second), time.Now().Add(60 * time.Second)}[r.IntN(6)]
				plain.SetReadDeadline(deadline)
				lazy.SetReadDeadline(deadline)
				if r.IntN(2) == 0 {
					time.Sleep(time.Duration(r.IntN(3000)) * time.Millisecond)
				}
				if r.IntN(2) == 0 {
					continue // another one before the read
				}
				var write *time.Timer
				wrote := make(chan struct{})
				if deadline.IsZero() || r.IntN(2) == 0 {
					write = time.AfterFunc(time.Duration(r.IntN(20_000))*time.Millisecond, func() {
						defer close(wrote)
						for _, peer := range []net.Conn{plainPeer, lazyPeer} {
							peer.SetWriteDeadline(time.Now().Add(time.Millisecond))
							peer.Write([]byte{1})
						}
					})
				}
				type end struct {
					n       int
					timeout bool
					after   time.Duration
				}
				read := func(c net.Conn) chan end {
					ended := make(chan end, 1)
					go func() {
						start := time.Now()
						n, err := c.Read(make([]byte, 1))
						ended <- end{n, errors.Is(err, os.ErrDeadlineExceeded), time.Since(start)}
					}()
					return ended
				}
				a, b := read(plain), read(lazy)
				if want, got := <-a, <-b; got.n != want.n || got.timeout != want.timeout || (got.after-want.after).Abs() > time.Millisecond {
					t.Fatalf("seed %d: %+v, want %+v", seed, got, want)
				}
				if write != nil && !write.Stop() {
					<-wrote
				}
			}
		})
	}
}
