package watch

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"mirrorpool/health"
)

// newGroupNamed is a group, not running, of a watcher with another name than fra.
func newGroupNamed(t *testing.T, now func() time.Time, name string, others ...string) *Group {
	t.Helper()
	g := newGroupOf(t, now)
	g.o.Config.Name = name
	for _, other := range others {
		(*delegate)(g).NotifyJoin(&memberlist.Node{Name: other})
	}
	return g
}

// packets are what a group has to gossip.
func packets(g *Group) (all [][]byte) {
	for texts := (*delegate)(g).GetBroadcasts(0, 1400); len(texts) > 0; texts = (*delegate)(g).GetBroadcasts(0, 1400) {
		all = append(all, texts...)
	}
	return all
}

// TestMissedChange: fra hears beats of ams, but a change that ams has told of is lost, and whole views cannot pass
// between the two. The opinions of ams do not go on to count at fra, unless nyc passes them on.
func TestMissedChange(t *testing.T) {
	t.Parallel()
	const prefix = "https://mirror1.example.net/project/"
	for _, relayed := range []bool{false, true} {
		now := time.Now()
		clock := func() time.Time { return now }
		ams, fra := newGroupNamed(t, clock, "ams", "fra", "nyc"), newGroupNamed(t, clock, "fra", "ams", "nyc")
		nyc := newGroupNamed(t, clock, "nyc", "ams", "fra")
		whole, err := json.Marshal(ams.own.view("ams"))
		if err != nil {
			t.Fatal(err)
		}
		fra.take(whole)
		nyc.take(whole)
		packets(ams)
		beat := func(from *Group, to ...*Group) {
			from.beat()
			for _, text := range packets(from) {
				for _, g := range to {
					g.take(text)
				}
			}
		}
		if beat(ams, fra, nyc); fra.counted(now)["ams"] == nil {
			t.Fatal("ams does not count, and nothing has been missed")
		}
		r := largeReport(3)
		m := r.Mirrors[prefix]
		m.Endpoints[0].State = health.Down
		r.Mirrors[prefix] = m
		ams.Apply(r)
		for _, text := range packets(ams) { // fra gets none of it
			nyc.take(text)
		}
		for range 40 {
			now = now.Add(fra.young / 20)
			beat(ams, fra, nyc)
			beat(fra, nyc)
			beat(nyc, fra)
			state := (*delegate)(nyc).LocalState(false)
			if !relayed { // as far as nyc says it itself
				nyc.members["fra"].behind = nil
				state = (*delegate)(nyc).LocalState(false)
			}
			(*delegate)(fra).MergeRemoteState(state, false)
		}
		held := fra.members["ams"].book.mirrors[prefix].List[0].State
		if counts := fra.counted(now)["ams"] != nil; counts != relayed || (held == health.Down) != relayed {
			t.Errorf("passed on %v: ams counts: %v, and is held to say %v", relayed, counts, held)
		}
	}
}

// TestHold: a book knows which changes it holds, in whatever order they come.
func TestHold(t *testing.T) {
	t.Parallel()
	part := func(n uint64) *View { return &View{Count: n, Changes: n, Notes: map[Topic]Note{TopicList: {Count: n}}} }
	beat := func(n uint64) *View { return &View{Count: n + 1, Changes: n} }
	whole := func(n uint64) *View { return &View{Count: n, Changes: n, Complete: n} }
	for _, step := range []struct {
		views   []*View
		current bool
	}{
		{nil, true},
		{[]*View{{Count: 3}}, true}, // of a version that does not number changes
		{[]*View{beat(7)}, false},
		{[]*View{whole(7), beat(7)}, true},
		{[]*View{whole(7), beat(8)}, false},
		{[]*View{whole(7), beat(8), part(8)}, true},
		{[]*View{whole(7), part(10), part(8), beat(10)}, false},
		{[]*View{whole(7), part(10), part(8), beat(10), part(9)}, true},
		{[]*View{part(10), part(8), beat(10), whole(7)}, false},
		{[]*View{part(10), part(8), beat(10), whole(9)}, true},
		{[]*View{whole(7), beat(9), {Count: 11, Changes: 7}}, true}, // a number that was forged does not stay
	} {
		var b Book
		for _, v := range step.views {
			b.Merge(v, all)
		}
		if b.current() != step.current {
			t.Errorf("%v: holds all: %v", step.views, b.current())
		}
	}
	var b Book
	b.Merge(whole(7), all)
	for i := range uint64(10 * maxBeyond) {
		b.Merge(part(9+i), all)
	}
	if len(b.beyond) > maxBeyond {
		t.Errorf("%d changes are held in mind", len(b.beyond))
	}
}

// TestLargeState: of a state that is too large to be sent at once, a member that joins gets its sender's own view, some
// others, and in later exchanges the rest.
func TestLargeState(t *testing.T) {
	t.Parallel()
	now := time.Now()
	clock := func() time.Time { return now }
	names := []string{"a", "b", "c", "d", "e"}
	g, joining := newGroupNamed(t, clock, "fra", names...), newGroupNamed(t, clock, "new", append(names, "fra")...)
	room := 0
	for _, name := range names {
		text, err := json.Marshal(newGroupNamed(t, clock, name).own.view(name))
		if err != nil {
			t.Fatal(err)
		}
		g.take(text)
		room = 3 * len(text)
	}
	held := func() (n int) {
		for _, m := range joining.members {
			n += count(len(m.book.mirrors) > 0)
		}
		return n
	}
	for i := range 100 {
		var others []*View
		for name, m := range g.members { // in random order
			others = append(others, m.book.view(name))
		}
		state := stateOf(g.own.view("fra"), others, room)
		if len(state) > 2*room {
			t.Fatalf("%d bytes where there is room for %d", len(state), room)
		}
		(*delegate)(joining).MergeRemoteState(state, true)
		if n := held(); i == 0 && (n < 2 || n > 4 || len(joining.members["fra"].book.mirrors) == 0) {
			t.Errorf("%d views after the first exchange", n)
		}
	}
	if n := held(); n != len(names)+1 {
		t.Errorf("%d views in the end, want %d", n, len(names)+1)
	}
}

// TestAgeIsPassedOn: what comes by way of a third watcher is as old as that one's knowledge, not new.
func TestAgeIsPassedOn(t *testing.T) {
	t.Parallel()
	now := time.Now()
	clock := func() time.Time { return now }
	fra, nyc := newGroupNamed(t, clock, "fra", "ams", "nyc"), newGroupNamed(t, clock, "nyc", "ams", "fra")
	whole, err := json.Marshal(newGroupNamed(t, clock, "ams").own.view("ams"))
	if err != nil {
		t.Fatal(err)
	}
	nyc.take(whole)
	heard := now
	now = now.Add(nyc.young / 2)
	(*delegate)(fra).MergeRemoteState((*delegate)(nyc).LocalState(true), true)
	if got := fra.members["ams"].heard; got.Sub(heard).Abs() > time.Millisecond {
		t.Errorf("heard of at %v, want %v", got, heard)
	}
	if now = heard.Add(fra.young + time.Second); fra.counted(now)["ams"] != nil {
		t.Error("it counts though no watcher has heard of it in time")
	}
}

// TestChangesAllTheTime: a watcher whose opinions change all the time, so that it sends the whole of them after each
// beat, counts all the same.
func TestChangesAllTheTime(t *testing.T) {
	t.Parallel()
	now := time.Now()
	clock := func() time.Time { return now }
	fra, ams := newGroupNamed(t, clock, "fra", "ams"), newGroupNamed(t, clock, "ams", "fra")
	for i := range 20 {
		now = now.Add(fra.young / 9)
		ams.mu.Lock()
		ams.own.number(1) // a change that is too large for gossip
		ams.mu.Unlock()
		ams.beat()
		for _, text := range packets(ams) {
			fra.take(text)
		}
		whole, err := json.Marshal(ams.own.view("ams"))
		if err != nil {
			t.Fatal(err)
		}
		fra.take(whole)
		if fra.counted(now)["ams"] == nil {
			t.Fatalf("it does not count after change %d", i+1)
		}
	}
}
