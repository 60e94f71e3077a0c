package watch

import (
	"context"
	"encoding/json"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	catchUpEvery = time.Second      // how often this watcher looks of which others it has missed something
	maxWait      = 16 * time.Second // between two requests for one view
	passOnEvery  = time.Second      // how often whole views are sent to those that want some, at most
	replyEvery   = 10 * time.Second // between two replies to one member with one view: they are much longer than requests
)

// missed is of a watcher of which a change has not come.
type missed struct {
	tried int       // how often the whole view was asked for
	next  time.Time // when to do so; zero if nothing is missed, or that was not noticed yet
}

// A request is what one member wants.
type request struct {
	from string // the member
	view string // the watcher whose whole view it wants
}

// requests are those for the whole views of watchers of which this one has missed something. The watcher itself is
// asked first, as soon as the change has had the time to come. It may be out of reach over TCP: then another one is
// asked, and so on by turns.
func (g *Group) requests(now time.Time) (list []letter) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.forgetGone()
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
			if others := len(living) - 1; m.missed.tried%2 == 1 && others > 0 {
				to = living[(i+1+m.missed.tried/2%others)%len(living)]
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
	s := g.newSender(list.Members, list.SendBestEffort)
	defer s.wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			s.post(ctx, g.requests(g.o.Now()))
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
	g.asked[request{v.Watcher, v.Want}] = true
	signal(g.wanting)
}

// replies are the whole views that others have asked for since the last call, but for those of which this watcher does
// not hold all itself. A member that has got the same one within replyEvery waits.
func (g *Group) replies() (list []letter) {
	g.mu.Lock()
	now := g.o.Now()
	soon := func(last time.Time) bool { return now.Sub(last) >= 0 && now.Sub(last) < replyEvery }
	maps.DeleteFunc(g.replied, func(_ request, last time.Time) bool { return !soon(last) })
	views := map[string]*View{}
	var due []request
	for r := range g.asked {
		if _, waits := g.replied[r]; waits {
			continue
		}
		delete(g.asked, r)
		if views[r.view] == nil {
			views[r.view] = g.wholeOf(r.view)
		}
		if views[r.view] != nil {
			g.replied[r] = now
			due = append(due, r)
		}
	}
	if len(g.asked) > 0 {
		signal(g.wanting)
	}
	g.mu.Unlock()
	texts := map[string][]byte{}
	for name, v := range views {
		texts[name] = v.text()
	}
	for _, r := range due {
		list = append(list, letter{r.from, texts[r.view]})
	}
	return list
}

// wholeOf is all that a watcher says; nil if that is not held. g.mu is held.
func (g *Group) wholeOf(name string) *View {
	var v *View
	if m := g.members[name]; name == g.o.Config.Name {
		v = g.own.view(name)
	} else if m != nil && m.book.canStandIn() {
		v = g.passedOn(name, m)
	}
	if v == nil || !v.tells() {
		return nil
	}
	return v
}

// passedOn is the view of another watcher as this one has heard it, and how long ago that was. g.mu is held.
func (g *Group) passedOn(name string, m *member) *View {
	v := m.book.view(name)
	v.Age = uint32(min(max(g.o.Now().Sub(m.heard).Milliseconds(), 1), math.MaxUint32))
	return v
}

// passOn sends whole views to those that want them until ctx ends.
func (g *Group) passOn(ctx context.Context, list *memberlist.Memberlist) error {
	return g.sendOn(ctx, list, g.wanting, passOnEvery, g.replies)
}
