package watch

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"mirrorpool/health"
	"mirrorpool/testdata/testbed"
)

// A trio is three watchers between which messages pass as the test has it.
type trio struct {
	t      *testing.T
	now    time.Time
	groups map[string]*Group
	noTCP  map[string]bool // from one to another, as "ams fra"
	lose   func(from, to string) bool
}

func newTrio(t *testing.T) *trio {
	t.Helper()
	x := &trio{t: t, now: time.Now(), groups: map[string]*Group{}, noTCP: map[string]bool{}, lose: func(_, _ string) bool { return false }}
	for _, name := range []string{"ams", "fra", "nyc"} {
		var others []string
		for _, other := range []string{"ams", "fra", "nyc"} {
			if other != name {
				others = append(others, other)
			}
		}
		x.groups[name] = newGroupNamed(t, func() time.Time { return x.now }, name, others...)
	}
	for from, g := range x.groups {
		packets(g)
		text, err := json.Marshal(g.own.view(from))
		if err != nil {
			t.Fatal(err)
		}
		for _, to := range x.groups {
			to.take(text)
		}
	}
	return x
}

// pass lets a second pass, in which each says that it is alive, and what it has missed is asked for and passed on.
// There is no gossip of what others have said.
func (x *trio) pass() {
	x.now = x.now.Add(time.Second)
	for name, g := range x.groups {
		g.beat()
		for _, text := range packets(g) {
			for to, other := range x.groups {
				if to != name && !x.lose(name, to) {
					other.take(text)
				}
			}
		}
	}
	for name, g := range x.groups {
		for _, l := range g.requests(x.now) {
			if !x.lose(name, l.to) {
				x.groups[l.to].take(l.text)
			}
		}
	}
	for name, g := range x.groups {
		for _, l := range g.replies() {
			if !x.noTCP[name+" "+l.to] {
				x.groups[l.to].take(l.text)
			}
		}
	}
}

// change makes ams find a mirror down, and loses what it says of that on the way to fra.
func (x *trio) change() (prefix string) {
	prefix = "https://mirror1.example.net/project/"
	r := largeReport(3)
	r.Mirrors[prefix].Endpoints[0].State = health.Down
	x.groups["ams"].Apply(r)
	for _, text := range packets(x.groups["ams"]) {
		x.groups["nyc"].take(text)
	}
	return prefix
}

// says is what fra holds that ams says of a mirror, and whether that counts.
func (x *trio) says(prefix string) (state health.State, counts bool) {
	fra := x.groups["fra"]
	return fra.members["ams"].book.mirrors[prefix].List[0].State, fra.counted(x.now)["ams"] != nil
}

// TestMissedChange: fra hears the beats of ams, but not of a change at ams. It gets that from ams, or where the two do
// not reach each other over TCP, from nyc. All the time the opinions of ams count at fra.
func TestMissedChange(t *testing.T) {
	t.Parallel()
	for _, apart := range []bool{false, true} {
		x := newTrio(t)
		x.noTCP["ams fra"] = apart
		prefix := x.change()
		for second := range 40 {
			x.pass()
			state, counts := x.says(prefix)
			if !counts {
				t.Errorf("TCP fails %v: ams does not count after %d s", apart, second+1)
			}
			if second >= 5 && state != health.Down {
				t.Fatalf("TCP fails %v: after %d s ams is held to say %v", apart, second+1, state)
			}
		}
	}
}

// TestMissedForLong: where no other watcher can pass on what fra has missed of ams, that counts for a while, so that a
// busy host changes nothing, and no longer. It counts again once it is known.
func TestMissedForLong(t *testing.T) {
	t.Parallel()
	x := newTrio(t)
	x.noTCP["ams fra"], x.noTCP["nyc fra"] = true, true
	prefix := x.change()
	long := patience(x.groups["fra"].young)
	for began := x.now; x.now.Sub(began) < long+time.Minute; {
		x.pass()
		want := x.now.Sub(began) <= long
		if state, counts := x.says(prefix); counts != want || state != health.Up {
			t.Fatalf("after %v ams counts %v, and is held to say %v", x.now.Sub(began), counts, state)
		}
	}
	clear(x.noTCP)
	for range 2 * int(maxWait/time.Second) {
		x.pass()
	}
	if state, counts := x.says(prefix); !counts || state != health.Down {
		t.Errorf("when TCP works again ams counts %v, and is held to say %v", counts, state)
	}
}

// TestLostBeats: two beats of three that are lost change nothing, nor does one that comes late.
func TestLostBeats(t *testing.T) {
	t.Parallel()
	x := newTrio(t)
	x.groups["ams"].young, x.groups["fra"].young = 7*time.Second, 7*time.Second // intervals of two seconds
	n := 0
	x.lose = func(from, to string) bool { n += count(from == "ams" && to == "fra"); return from == "ams" && n%3 > 0 }
	prefix := x.change()
	for range 60 {
		if x.pass(); x.groups["fra"].counted(x.now)["ams"] == nil {
			t.Fatal("ams does not count")
		}
	}
	if state, _ := x.says(prefix); state != health.Down {
		t.Errorf("ams is held to say %v", state)
	}
}

// TestNewMirrorsAreFetched: what others have said of mirrors that were not in the list until now is asked for.
func TestNewMirrorsAreFetched(t *testing.T) {
	t.Parallel()
	x := newTrio(t)
	fra := x.groups["fra"]
	fra.Apply(largeReport(1))
	fra.Apply(largeReport(3))
	for range 3 {
		x.pass()
	}
	if n := len(fra.members["ams"].book.mirrors); n != 3 {
		t.Errorf("ams is held to say something of %d mirrors", n)
	}
}

// TestOldPartOfNewMirror: what a watcher has said long ago of a mirror that comes into the list now is not taken for
// its opinion, though the message comes only now. A later change is, and so is the whole view.
func TestOldPartOfNewMirror(t *testing.T) {
	t.Parallel()
	for _, late := range []string{"part", "whole view"} {
		x := newTrio(t)
		fra, ams := x.groups["fra"], x.groups["ams"]
		x.noTCP["ams fra"], x.noTCP["nyc fra"] = true, true
		fra.Apply(largeReport(1)) // without mirror1
		prefix := x.change()
		old := *ams.own.view("ams")
		if late == "part" {
			old.Complete, old.Mirrors = 0, map[string]Opinions{prefix: ams.own.mirrors[prefix]}
		}
		ams.Apply(largeReport(3)) // up again
		for range 5 {
			x.pass()
		}
		fra.Apply(largeReport(3))
		fra.take(old.text())
		if said := fra.members["ams"].book.mirrors[prefix]; said.List != nil {
			t.Errorf("old %s: ams is held to say %v", late, said)
		}
		r := largeReport(3)
		r.Mirrors[prefix].Endpoints[0].State = health.Stale
		ams.Apply(r)
		x.pass()
		if said := fra.members["ams"].book.mirrors[prefix]; len(said.List) == 0 || said.List[0].State != health.Stale {
			t.Errorf("old %s, and a change: ams is held to say %v", late, said)
		}
		if fra.members["ams"].book.current() {
			t.Errorf("old %s: fra takes it for all that ams says", late)
		}
		clear(x.noTCP)
		for range 2 * int(maxWait/time.Second) {
			x.pass()
		}
		if !fra.members["ams"].book.current() || len(fra.members["ams"].book.mirrors) != 3 {
			t.Errorf("old %s: fra does not get the whole view", late)
		}
	}
}

// TestOtherListDoesNotStandIn: a watcher that lacks a mirror in its list does not pass on what others say as if that
// were all. It does so again once it has the mirror, or they lack it, too.
func TestOtherListDoesNotStandIn(t *testing.T) {
	t.Parallel()
	for _, later := range []string{"list grows", "mirror is dropped"} {
		x := newTrio(t)
		ams, fra, nyc := x.groups["ams"], x.groups["fra"], x.groups["nyc"]
		nyc.Apply(largeReport(1)) // without mirror1
		x.noTCP["ams fra"] = true
		for range 5 {
			x.pass()
		}
		prefix := x.change()
		if joins := bytes.Count((*delegate)(nyc).LocalState(true), []byte(`"m":`)); joins != 1 {
			t.Errorf("nyc tells a member that joins the opinions of %d watchers", joins)
		}
		for second := range 2 * int(patience(fra.young)/time.Second) {
			x.pass()
			state, counts := x.says(prefix)
			if counts && state != health.Down && second > int(patience(fra.young)/time.Second) {
				t.Fatalf("after %d s counts at fra that ams says %v", second, state)
			}
		}
		if later == "list grows" {
			nyc.Apply(largeReport(3))
		} else {
			r := largeReport(1)
			r.Mirrors["https://mirror0.example.net/project/"].Endpoints[0].State = health.Up
			ams.Apply(r)
			text, err := json.Marshal(ams.own.view("ams"))
			if err != nil {
				t.Fatal(err)
			}
			nyc.take(text)
		}
		for range 3 * int(maxWait/time.Second) {
			x.pass()
		}
		if !fra.members["ams"].book.current() {
			t.Errorf("%s: nyc does not pass on what ams says", later)
		}
	}
}

// TestNotesWithoutReport: a member that joins hears the notes also of a watcher that has not checked any mirror yet.
func TestNotesWithoutReport(t *testing.T) {
	t.Parallel()
	g := newGroupNamed(t, time.Now, "fra", "ams")
	g.take([]byte(`{"w":"ams","n":8,"k":8,"t":{"drains":{"n":8,"t":["a"]}}}`))
	g.members["ams"].book.held = 8
	joining := newGroupNamed(t, time.Now, "nyc", "fra", "ams")
	(*delegate)(joining).MergeRemoteState((*delegate)(g).LocalState(true), true)
	if got := string(joining.members["ams"].book.notes[TopicDrains].Text); got != `["a"]` {
		t.Errorf("the note is %q", got)
	}
}

// TestRequests: the watcher itself is asked first, and then each other one by turns, ever less often.
func TestRequests(t *testing.T) {
	t.Parallel()
	now := time.Now()
	g := newGroupNamed(t, func() time.Time { return now }, "fra", "ams", "nyc", "sin", "gone")
	g.members["ams"].book.latest = 7
	g.members["gone"].book.latest, g.members["gone"].alive, g.members["gone"].since = 7, false, now
	var asked []string
	var times []int
	for second := range 200 {
		for _, l := range g.requests(now) {
			asked = append(asked, l.to)
			times = append(times, second)
			var v View
			if err := json.Unmarshal(l.text, &v); err != nil || v.Want != "ams" || v.Watcher != "fra" {
				t.Fatalf("it asks with %s: %v", l.text, err)
			}
		}
		if again := g.requests(now); len(again) > 0 {
			t.Errorf("at second %d it asks twice", second)
		}
		now = now.Add(time.Second)
	}
	if want := []int{1, 2, 4, 6, 10, 14, 22, 30, 46, 62, 78, 94, 110, 126, 142, 158, 174, 190}; !slices.Equal(times, want) {
		t.Errorf("it asks at %v, want %v", times, want)
	}
	if want := []string{"ams", "nyc", "ams", "sin", "ams", "nyc", "ams", "sin"}; !slices.Equal(asked[:len(want)], want) {
		t.Errorf("it asks %v", asked)
	}
	g.requests(now)
	if now = now.Add(-time.Hour); len(g.requests(now)) == 0 {
		t.Error("it does not ask after the clock was set back")
	}
	now = now.Add(time.Hour)
	g.members["ams"].book.latest = 0
	if more := g.requests(now.Add(time.Hour)); len(more) > 0 {
		t.Errorf("nothing is missed, and it asks %q", more)
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
		{[]*View{beat(7)}, false},
		{[]*View{whole(7), beat(7)}, true},
		{[]*View{whole(7), beat(8)}, false},
		{[]*View{whole(7), beat(8), part(8)}, true},
		{[]*View{whole(7), part(10), part(8), beat(10)}, false},
		{[]*View{whole(7), part(10), part(8), beat(10), part(9)}, true},
		{[]*View{part(10), part(8), beat(10), whole(7)}, false},
		{[]*View{part(10), part(8), beat(10), whole(9)}, true},
		{[]*View{whole(7), beat(9), {Count: 11, Changes: 7}}, true}, // a number that was forged does not stay
		{[]*View{whole(7), {Count: 11, Changes: 7}, {Count: 10, Changes: 9}}, true},
		{[]*View{whole(7), {Count: 7, Changes: 8}}, false},
		{[]*View{whole(7), {Count: 7, Changes: 8}, {Count: 7, Changes: 7}}, false},
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
	for _, v := range []*View{whole(7), part(9), part(8)} {
		b.Merge(v, all)
	}
	if b.beyond != nil {
		t.Errorf("nothing is missed, and %v are held in mind", b.beyond)
	}
	b = Book{}
	b.Merge(whole(7), all)
	for i := range uint64(10 * maxBeyond) {
		b.Merge(part(9+i), all)
	}
	if len(b.beyond) > maxBeyond {
		t.Errorf("%d changes are held in mind", len(b.beyond))
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

// TestPassedOnByThird: over real connections, a view that was missed comes from a third watcher, where its own watcher
// cannot be reached at all.
func TestPassedOnByThird(t *testing.T) {
	t.Parallel()
	peers := startPeers(t, "fra", "ams")
	become(t, peers, 10*time.Second, "uuu", "uuu") // each by itself
	testbed.Eventually(t, "the two have found each other", func() bool { return peers[0].size() == 2 && peers[1].size() == 2 })
	for _, p := range peers {
		(*delegate)(p.Group).NotifyJoin(&memberlist.Node{Name: "far"})
	}
	missing := []byte(`{"w":"far","n":1800000000000000001,"k":1800000000000000000}`)
	whole := []byte(`{"w":"far","n":1800000000000000000,"k":1800000000000000000,"c":1800000000000000000,"m":{"https://a/":{"n":1800000000000000000,"o":[]}}}`)
	peers[1].take(whole)
	peers[0].take(missing)
	testbed.Eventually(t, "ams has passed on what far said", func() bool {
		peers[0].mu.Lock()
		defer peers[0].mu.Unlock()
		return peers[0].members["far"].book.current()
	})
}
