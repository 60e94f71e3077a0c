package watch

import (
	"context"
	"encoding/json"
	"math"
	"slices"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	catchUpEvery = time.Second      // how often this watcher looks of which others it has missed something
	maxWait      = 16 * time.Second // between two requests for one view
	passOnEvery  = time.Second      // how often whole views are sent to those that want some, at most
)

// missed is of a watcher of which a change has not come.
type missed struct {
	tried int       // how often the whole view was asked for
	next  time.Time // when to do so; zero if nothing is missed, or that was not noticed yet
}

// requests are those for the whole views of watchers of which this one has missed something. The watcher itself is
// asked first, as soon as the change has had the time to come. It may be out of reach over TCP: then another one is
// asked, and so on by turns.
func (g *Group) requests(now time.Time) (list []letter) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var living []string
	for name, m := range g.members {
		if m.alive {
			living = append(living, name)
		}
	}
	slices.Sort(living)
	for i, name := range living {
		m := g.members[name]
		wait, noticed := m.missed.next.Sub(now), !m.missed.next.IsZero()
		if m.book.current() || noticed && wait > 0 && wait <= maxWait { // more: the clock was set back
			continue
		}
		if noticed {
			to := name
			if m.missed.tried%2 == 1 {
				to = living[(i+1+m.missed.tried/2)%len(living)]
			}
			if text, err := json.Marshal(View{Watcher: g.o.Config.Name, Want: name}); err == nil {
				list = append(list, letter{to, text})
			}
			m.missed.tried++
		}
		m.missed.next = now.Add(min(catchUpEvery<<min(m.missed.tried/2, 10), maxWait))
	}
	return list
}

// catchUp asks for what this watcher has missed until ctx ends.
func (g *Group) catchUp(ctx context.Context, list *memberlist.Memberlist) error {
	ticker := time.NewTicker(catchUpEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			g.post(ctx, list, g.requests(g.o.Now()), list.SendBestEffort)
		}
	}
}

// noteWant notes that a member wants a whole view.
func (g *Group) noteWant(v *View) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.members[v.Watcher] == nil || v.Want != g.o.Config.Name && g.members[v.Want] == nil {
		return
	}
	if g.asked[v.Watcher] == nil {
		g.asked[v.Watcher] = map[string]bool{}
	}
	g.asked[v.Watcher][v.Want] = true
	signal(g.wanting)
}

// replies are the whole views that others have asked for since the last call, but for those of which this watcher does
// not hold all itself.
func (g *Group) replies() (list []letter) {
	g.mu.Lock()
	asked := g.asked
	g.asked = map[string]map[string]bool{}
	views := map[string]*View{}
	for _, names := range asked {
		for name := range names {
			if m := g.members[name]; name == g.o.Config.Name {
				views[name] = g.own.view(name)
			} else if m != nil && m.book.canStandIn() {
				views[name] = g.passedOn(name, m)
			}
		}
	}
	g.mu.Unlock()
	texts := map[string][]byte{}
	for name, v := range views {
		if text, err := json.Marshal(v); err == nil && v.tells() {
			texts[name] = text
		}
	}
	for to, names := range asked {
		for name := range names {
			if text := texts[name]; text != nil {
				list = append(list, letter{to, text})
			}
		}
	}
	return list
}

// passedOn is the view of another watcher as this one has heard it, and how long ago that was. g.mu is held.
func (g *Group) passedOn(name string, m *member) *View {
	v := m.book.view(name)
	v.Age = uint32(min(max(g.o.Now().Sub(m.heard).Milliseconds(), 1), math.MaxUint32))
	return v
}

// passOn sends whole views to those that want them until ctx ends.
func (g *Group) passOn(ctx context.Context, list *memberlist.Memberlist) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-g.wanting:
			g.post(ctx, list, g.replies(), list.SendReliable)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(passOnEvery):
		}
	}
}
