package watch

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
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

// TestLargeState: of a state that is too large to be sent at once, a member that joins gets its sender's own view and
// some others, and the counts of the rest.
func TestLargeState(t *testing.T) {
	t.Parallel()
	names := []string{"a", "b", "c", "d", "e"}
	g, joining := newGroupNamed(t, time.Now, "fra", names...), newGroupNamed(t, time.Now, "new", append(names, "fra")...)
	room := 0
	for _, name := range names {
		text, err := json.Marshal(newGroupNamed(t, time.Now, name).own.view(name))
		if err != nil {
			t.Fatal(err)
		}
		g.take(text)
		room = 3 * len(text)
	}
	var others []*View
	for name, m := range g.members {
		others = append(others, m.book.view(name))
	}
	state := stateOf(g.own.view("fra"), others, room)
	if len(state) > room+room/2 {
		t.Fatalf("%d bytes where there is room for %d", len(state), room)
	}
	(*delegate)(joining).MergeRemoteState(state, true)
	held := 0
	for _, m := range joining.members {
		held += count(len(m.book.mirrors) > 0)
	}
	if held < 2 || held > 4 || len(joining.members["fra"].book.mirrors) == 0 {
		t.Errorf("it gets %d views", held)
	}
}
