package watch

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"mirrorpool/health"
)

// TestRepliesAreBounded: only members get replies, one each for a view, however often they ask.
func TestRepliesAreBounded(t *testing.T) {
	t.Parallel()
	x := newTrio(t)
	nyc := x.groups["nyc"]
	for _, ask := range []View{{Watcher: "fra", Want: "ams"}, {Watcher: "fra", Want: "nyc"}, {Watcher: "fra", Want: "ams"},
		{Watcher: "stranger", Want: "ams"}, {Watcher: "fra", Want: "stranger"}, {Watcher: "fra", Want: "a b"}} {
		text, err := json.Marshal(ask)
		if err != nil {
			t.Fatal(err)
		}
		nyc.take(text)
	}
	if got := nyc.replies(); len(got) != 2 || got[0].to != "fra" || got[1].to != "fra" {
		t.Errorf("%d replies", len(got))
	}
	if got := nyc.replies(); len(got) > 0 {
		t.Errorf("%d replies to nothing", len(got))
	}
	nyc.take([]byte(`{"w":"fra","q":"nyc"}`))
	if got := nyc.replies(); len(got) > 0 {
		t.Errorf("%d replies at the same moment", len(got))
	}
	x.now = x.now.Add(replyEvery)
	if got := nyc.replies(); len(got) != 1 {
		t.Errorf("%d replies after a while", len(got))
	}
}

// TestRequestsDoNotAmplify: a member that asks for the same view again and again gets it once each replyEvery, and what
// it asked for in between then.
func TestRequestsDoNotAmplify(t *testing.T) {
	t.Parallel()
	x := newTrio(t)
	nyc := x.groups["nyc"]
	signaled(nyc.wanting)
	replies := map[string]int{}
	for range 30 {
		for _, from := range []string{"ams", "fra"} {
			nyc.take(fmt.Appendf(nil, `{"w":%q,"q":"nyc"}`, from))
		}
		signaled(nyc.wanting)
		for _, l := range nyc.replies() {
			replies[l.to]++
		}
		if wait := len(nyc.asked) > 0; signaled(nyc.wanting) != wait {
			t.Fatalf("some wait: %v, and it is not looked for them again", wait)
		}
		x.now = x.now.Add(time.Second)
	}
	if replies["ams"] != 3 || replies["fra"] != 3 {
		t.Errorf("replies within 30 s: %v", replies)
	}
	x.now = x.now.Add(replyEvery)
	nyc.replies()
	if len(nyc.asked) > 0 || signaled(nyc.wanting) {
		t.Errorf("%v still wait", nyc.asked)
	}
	nyc.take([]byte(`{"w":"ams","q":"nyc"}`))
	if x.now = x.now.Add(-time.Hour); len(nyc.replies()) != 1 {
		t.Error("no reply after the clock was set back")
	}
}

// TestSlowReader: a member that does not read what is sent to it does not keep others from getting theirs.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	g := newGroupNamed(t, time.Now, "fra")
	release, sent := make(chan struct{}), make(chan string, 10)
	members := func() []*memberlist.Node { return []*memberlist.Node{{Name: "slow"}, {Name: "ams"}, {Name: "nyc"}} }
	s := g.newSender(members, func(node *memberlist.Node, text []byte) error {
		if node.Name == "slow" {
			<-release
		}
		sent <- node.Name + " " + string(text)
		return nil
	})
	s.post(t.Context(), []letter{{"slow", []byte("1")}, {"ams", []byte("2")}, {"gone", []byte("3")}})
	if got := <-sent; got != "ams 2" {
		t.Errorf("first %s", got)
	}
	s.post(t.Context(), []letter{{"slow", []byte("4")}, {"nyc", []byte("5")}, {"nyc", []byte("6")}})
	if a, b := <-sent, <-sent; a != "nyc 5" || b != "nyc 6" {
		t.Errorf("then %s and %s", a, b)
	}
	close(release)
	s.wait()
	if got := <-sent; got != "slow 1" || len(sent) > 0 {
		t.Errorf("last %s, and %d more", got, len(sent))
	}
	s.post(t.Context(), []letter{{"slow", []byte("7")}})
	s.wait()
	if got := <-sent; got != "slow 7" {
		t.Errorf("when it reads again: %s", got)
	}
}

// TestOnlyAllIsPassedOn: a watcher that has missed something itself passes on nothing, neither to one that asks nor to
// one that joins; and not what has been passed on with less than it knows.
func TestOnlyAllIsPassedOn(t *testing.T) {
	t.Parallel()
	x := newTrio(t)
	nyc := x.groups["nyc"]
	for _, missed := range []bool{false, true} {
		if missed {
			nyc.members["ams"].book.latest++
		}
		nyc.take([]byte(`{"w":"fra","q":"ams"}`))
		if got := len(nyc.replies()); (got == 0) != missed {
			t.Errorf("has missed something: %v; %d replies", missed, got)
		}
		x.now = x.now.Add(replyEvery)
		var views []View
		for line := range bytes.Lines((*delegate)(nyc).LocalState(true)) {
			var v View
			if err := json.Unmarshal(line, &v); err != nil {
				t.Fatal(err)
			}
			if v.Watcher == "ams" && v.tells() {
				views = append(views, v)
			}
		}
		if (len(views) == 0) != missed {
			t.Errorf("has missed something: %v; one that joins gets %v", missed, views)
		}
	}
}

// TestOldRunIsOld: a watcher starts again under a clock that was set back, so that what it said before has the higher
// count. By way of a third one that is not taken for new. The watcher counts again once it is known what it says now.
func TestOldRunIsOld(t *testing.T) {
	t.Parallel()
	now := time.Now()
	clock := func() time.Time { return now }
	view := func(count uint64, state health.State) *View {
		return &View{Watcher: "ams", Count: count, Complete: count, Changes: count, Mirrors: map[string]Opinions{
			"https://mirror1.example.net/project/": {Count: count, List: []Opinion{{State: state}}}}}
	}
	fra, nyc := newGroupNamed(t, clock, "fra", "ams", "nyc"), newGroupNamed(t, clock, "nyc", "ams", "fra")
	nyc.take(view(100, health.Down).text())
	now = now.Add(2 * patience(nyc.young))
	fra.take(view(7, health.Up).text())
	if fra.counted(now)["ams"] == nil {
		t.Error("it does not count after its start")
	}
	(*delegate)(fra).MergeRemoteState((*delegate)(nyc).LocalState(true), true)
	fra.take([]byte(`{"w":"ams","n":8,"k":7}`))
	if fra.counted(now)["ams"] != nil {
		t.Errorf("it counts with what it said %v ago", 2*patience(nyc.young))
	}
	fra.take(view(101, health.Up).text())
	if fra.counted(now)["ams"] == nil {
		t.Error("it does not count with what it says now")
	}
	fra.take([]byte(`{"w":"ams","n":200,"k":200}`)) // it has surpassed what it said before, and says all anew soon
	nyc.take(view(150, health.Down).text())
	now = now.Add(fra.young / 2)
	(*delegate)(fra).MergeRemoteState((*delegate)(nyc).LocalState(true), true)
	if said := fra.members["ams"].book.mirrors["https://mirror1.example.net/project/"].List; said[0].State != health.Up {
		t.Errorf("what it said in an earlier run is taken for newer: %v", said)
	}
}

// TestLargeChangeIsMissed: a change that is too large to be gossiped has a number, so that others notice that they have
// not got it.
func TestLargeChangeIsMissed(t *testing.T) {
	t.Parallel()
	g := newGroupNamed(t, time.Now, "fra")
	first, count := g.own.latest, g.own.count
	if err := g.SetNote(TopicList, string(bytes.Repeat([]byte("x"), 2*maxPacket))); err != nil {
		t.Fatal(err)
	}
	if !signaled(g.whole) || g.own.latest != first+1 || g.own.count != count+2 {
		t.Errorf("the number is %d after %d, and the count %d after %d", g.own.latest, first, g.own.count, count)
	}
	if g.own.number(5); g.own.count != count+7 { // else the numbers of the next run would be lower
		t.Errorf("the count is %d after 5 changes more", g.own.count-count)
	}
}

// TestNothingToReply: a view of which nothing was heard is not given.
func TestNothingToReply(t *testing.T) {
	t.Parallel()
	now := time.Now()
	g := newGroupNamed(t, func() time.Time { return now }, "fra", "ams", "nyc")
	g.take([]byte(`{"w":"ams","q":"nyc"}`))
	if got := g.replies(); len(g.asked) > 0 || len(got) > 0 {
		t.Errorf("%d replies, and %v still wait", len(got), g.asked)
	}
}
