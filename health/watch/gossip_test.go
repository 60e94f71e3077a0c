package watch

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"mirrorpool/health"
	"mirrorpool/testdata/testbed"
)

// signaled takes the token in ch, and reports whether there was one.
func signaled(ch chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// TestNoteIsGossiped: a note goes out at once, not with the next exchange.
func TestNoteIsGossiped(t *testing.T) {
	t.Parallel()
	g := newGroupOf(t, time.Now, "ams")
	packets(g)
	for range 2 {
		if err := g.SetNote(TopicChallenges, "token"); err != nil {
			t.Fatal(err)
		}
	}
	sent := packets(g)
	said := slices.CompactFunc(sent, bytes.Equal) // each goes out a few times
	if len(said) != 1 || !bytes.Contains(said[0], []byte(`"token"`)) {
		t.Errorf("a note that is set twice is gossiped as %q", said)
	}
}

// TestGossipIsPassedOn: what a member sends goes on to others while it is news.
func TestGossipIsPassedOn(t *testing.T) {
	t.Parallel()
	g := newGroupOf(t, time.Now, "ams")
	packets(g)
	said := fmt.Appendf(nil, `{"w":"ams","n":%d}`, time.Now().UnixNano())
	for i := range 2 {
		(*delegate)(g).NotifyMsg(said)
		sent := packets(g)
		if news := i == 0; slices.ContainsFunc(sent, func(text []byte) bool { return bytes.Equal(text, said) }) != news {
			t.Errorf("news %v: gossiped %q", news, sent)
		}
	}
}

// TestBeats: a watcher says again and again that it is alive.
func TestBeats(t *testing.T) {
	t.Parallel()
	g := newGroupOf(t, time.Now, "ams")
	g.mu.Lock()
	g.young = 0 // so that it does each second
	g.mu.Unlock()
	packets(g)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { g.beats(ctx); close(done) }()
	counts := map[uint64]bool{}
	testbed.Eventually(t, "there are two beats", func() bool {
		for _, text := range packets(g) {
			var v View
			if err := json.Unmarshal(text, &v); err != nil {
				t.Fatal(err)
			}
			counts[v.Count] = true
		}
		return len(counts) >= 2
	})
	cancel()
	<-done
}

// TestChangeInParts: a change of more mirrors than fit into a packet is gossiped in several; one of many goes over TCP.
func TestChangeInParts(t *testing.T) {
	t.Parallel()
	g, other := newGroupOf(t, time.Now, "ams"), newGroupNamed(t, time.Now, "ams", "fra")
	r := largeReport(1000)
	g.Apply(r)
	other.Apply(largeReport(1000))
	whole, err := json.Marshal(g.own.view("fra"))
	if err != nil {
		t.Fatal(err)
	}
	other.take(whole)
	for _, step := range []struct {
		changed int
		whole   bool
	}{{1, false}, {12, false}, {900, true}} {
		packets(g)
		signaled(g.whole)
		for i := range step.changed {
			m := r.Mirrors[fmt.Sprintf("https://mirror%d.example.net/project/", i+1)]
			m.Endpoints[0].State = (m.Endpoints[0].State + 1) % 3
		}
		g.Apply(r)
		if got := signaled(g.whole); got != step.whole {
			t.Errorf("%d mirrors change: it sends all: %v", step.changed, got)
		}
		for _, text := range packets(g) {
			other.take(text)
		}
		g.beat()
		for _, text := range packets(g) {
			other.take(text)
		}
		held := maps.EqualFunc(other.members["fra"].book.mirrors, g.own.mirrors, func(a, b Opinions) bool { return a.Count == b.Count })
		if held == step.whole {
			t.Errorf("%d mirrors change: another one holds all by gossip: %v", step.changed, held)
		}
	}
}

// TestOldMirrorsAreForgotten: what others say of a mirror is dropped with the mirror.
func TestOldMirrorsAreForgotten(t *testing.T) {
	t.Parallel()
	g := newGroupOf(t, time.Now, "ams")
	whole, err := json.Marshal(newGroupNamed(t, time.Now, "ams").own.view("ams"))
	if err != nil {
		t.Fatal(err)
	}
	g.take(whole)
	before := len(g.members["ams"].book.mirrors)
	g.Apply(largeReport(1))
	if after := len(g.members["ams"].book.mirrors); before != 3 || after != 1 {
		t.Errorf("the opinions on %d mirrors are kept, and on %d when the list has one", before, after)
	}
}

// TestLostMembersAreSought: a member that was lost is looked for where it was, for an hour, though no configuration
// names it. That one which was stopped cannot be reached is no problem.
func TestLostMembersAreSought(t *testing.T) {
	t.Parallel()
	now := time.Now()
	g := newGroupOf(t, func() time.Time { return now })
	g.o.Config.Listen = "127.0.24.61:" + testbed.FreePort(t, "127.0.24.61")
	list, err := g.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { list.Shutdown() })
	ams := &memberlist.Node{Name: "ams", Addr: net.IPv4(127, 0, 24, 62), Port: 7946}
	(*delegate)(g).NotifyJoin(ams)
	if missing := g.missing(t.Context(), list); len(missing) > 0 {
		t.Errorf("%v are missing while all live", missing)
	}
	(*delegate)(g).NotifyLeave(ams)
	for _, listed := range []bool{false, true} {
		if listed {
			g.o.Config.Join = []string{ams.Address()}
		}
		for _, stopped := range []bool{false, true} {
			g.members["ams"].stopped = stopped
			if missing := g.missing(t.Context(), list); !slices.Equal(missing, []absent{{ams.Address(), stopped}}) {
				t.Errorf("%v are missing, want ams at %s, stopped %v", missing, ams.Address(), stopped)
			}
			if g.join(t.Context(), list); (g.problem == "") != stopped {
				t.Errorf("stopped %v: the problem is %q", stopped, g.problem)
			}
		}
	}
	g.o.Config.Join = nil
	if now = now.Add(memoryOfGone + time.Second); len(g.missing(t.Context(), list)) > 0 {
		t.Error("it is looked for an hour after")
	}
}

// TestJointNeedsTwo: verdicts are joint with two others that have said something, and not with one.
func TestJointNeedsTwo(t *testing.T) {
	t.Parallel()
	now := time.Now()
	g := newGroupOf(t, func() time.Time { return now }, "ams", "nyc")
	for i, name := range []string{"", "ams", "nyc"} {
		g.take(fmt.Appendf(nil, `{"w":%q,"n":%d}`, name, now.UnixNano()))
		if joint := g.Status(now).Joint; joint != (i == 2) {
			t.Errorf("with %d others: joint %v", i, joint)
		}
	}
}

// TestSurpassIsTold: a watcher that learns of an earlier run under a clock that was ahead comes to say all anew.
func TestSurpassIsTold(t *testing.T) {
	t.Parallel()
	g := newGroupOf(t, time.Now, "ams")
	signaled(g.changed)
	signaled(g.whole)
	g.take(fmt.Appendf(nil, `{"w":"fra","n":%d}`, time.Now().Add(time.Hour).UnixNano()))
	if !signaled(g.changed) {
		t.Error("nothing makes it look at its report again")
	}
	if g.Apply(largeReport(3)); !signaled(g.whole) {
		t.Error("it does not say all anew")
	}
}

// TestNewcomerUpElsewhere: a mirror that the others find up is no newcomer any more, though this watcher has never
// reached it.
func TestNewcomerUpElsewhere(t *testing.T) {
	t.Parallel()
	const prefix = "https://mirror0.example.net/project/" // which is down here
	now := time.Now()
	clock := func() time.Time { return now }
	g := newGroupOf(t, clock, "ams", "nyc")
	for _, up := range []bool{false, true} {
		now = now.Add(time.Second)
		for _, name := range []string{"ams", "nyc"} {
			said := newGroupNamed(t, clock, name)
			r := largeReport(3)
			for i := range r.Mirrors[prefix].Endpoints {
				if r.Mirrors[prefix].Endpoints[i].State = health.Down; up {
					r.Mirrors[prefix].Endpoints[i].State = health.Up
				}
			}
			said.Apply(r)
			text, err := json.Marshal(said.own.view(name))
			if err != nil {
				t.Fatal(err)
			}
			g.take(text)
		}
		r := largeReport(3)
		r.At = now
		m := r.Mirrors[prefix]
		m.Newcomer = [2]bool{true, true}
		r.Mirrors[prefix] = m
		g.Apply(r)
		if got := r.Mirrors[prefix].Newcomer; got != [2]bool{!up, !up} {
			t.Errorf("others find it up: %v; it is a newcomer: %v", up, got)
		}
	}
}
