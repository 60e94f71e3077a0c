package watch

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/hashicorp/memberlist"
	"go.uber.org/zap"
)

const (
	maxQueued = 1000 // packets that wait to be gossiped

	// maxAhead is how far a count may be ahead of the time: a watcher's clock may be off by much, but counts must leave
	// room for those to come.
	maxAhead = 10 * 365 * 24 * time.Hour

	// maxState is how many bytes of views a member sends in an exchange: memberlist refuses 20 MiB.
	maxState = 16 << 20
)

// A delegate is a Group as memberlist sees it.
type delegate Group

// NodeMeta is what this watcher says of itself.
func (d *delegate) NodeMeta(limit int) []byte {
	text := (*Group)(d).metadata()
	if len(text) > limit {
		return nil
	}
	return text
}

// NotifyMsg takes in a view that a member has sent, and gossips it further if it is news. memberlist passes on what it
// knows of members alone.
func (d *delegate) NotifyMsg(data []byte) {
	g := (*Group)(d)
	if g.take(data) && len(data) <= maxPacket && g.queue.NumQueued() < maxQueued/2 { // the rest is for its own
		g.enqueue(&packet{text: bytes.Clone(data)})
	}
}

// GetBroadcasts returns what is to be gossiped: nothing after a goodbye, since more would take that back.
func (d *delegate) GetBroadcasts(overhead, limit int) [][]byte {
	d.mu.Lock()
	gone := d.goodbye
	d.mu.Unlock()
	if gone {
		return nil
	}
	return d.queue.GetBroadcasts(overhead, limit)
}

// LocalState returns this watcher's view, and what it has heard of the others: all of that for a member that joins, but
// for those of whom it does not hold all; and else how far they have counted. So a member learns how high it has
// counted in an earlier run (see [Book.surpass]).
func (d *delegate) LocalState(join bool) []byte {
	g := (*Group)(d)
	g.mu.Lock()
	own := g.own.view(g.o.Config.Name)
	own.Stopped = g.goodbye
	var others []*View
	for name, m := range g.members {
		if m.book.count == 0 {
			continue
		}
		if join && m.book.canStandIn() {
			others = append(others, g.passedOn(name, m))
		} else {
			others = append(others, m.book.summary(name))
		}
	}
	g.mu.Unlock()
	return stateOf(own, others, maxState)
}

// stateOf writes views for LocalState, that of this watcher first. Where there is no room for all, only the counts of
// some others are written: the member gets their opinions from these themselves.
func stateOf(own *View, others []*View, room int) []byte {
	var state bytes.Buffer
	for i, v := range append([]*View{own}, others...) {
		text, err := json.Marshal(v)
		if i > 0 && state.Len()+len(text) > room {
			text, err = json.Marshal(v.summary())
		}
		if err != nil { // it holds nothing that cannot be written
			continue
		}
		state.Write(text)
		state.WriteByte('\n')
	}
	return state.Bytes()
}

// MergeRemoteState takes in what another member's LocalState has returned. A mere count is of use to the watcher that
// has counted so far. Others must not be taken for heard of while their opinions are not known.
func (d *delegate) MergeRemoteState(state []byte, _ bool) {
	g := (*Group)(d)
	if len(state) > maxViewBytes {
		return
	}
	n := 0
	for line := range bytes.Lines(state) {
		if n++; n > maxMembers+1 {
			return
		}
		if v := g.parse(line); v != nil && (v.tells() || v.Watcher == g.o.Config.Name) {
			g.takeView(v)
		}
	}
}

// NotifyJoin takes in a member.
func (d *delegate) NotifyJoin(node *memberlist.Node) { (*Group)(d).setMember(node, true) }

// NotifyLeave takes in that a member is gone.
func (d *delegate) NotifyLeave(node *memberlist.Node) { (*Group)(d).setMember(node, false) }

// NotifyUpdate takes in what a member says of itself.
func (d *delegate) NotifyUpdate(node *memberlist.Node) { (*Group)(d).setMember(node, true) }

// NotifyAlive refuses what cannot be a member.
func (d *delegate) NotifyAlive(node *memberlist.Node) error {
	if err := checkName(node.Name); err != nil {
		return err
	}
	if node.DCur != protocol {
		return fmt.Errorf("%s speaks version %d of the protocol, this watcher %d", node.Name, node.DCur, protocol)
	}
	g := (*Group)(d)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.forgetGone()
	if node.Name != g.o.Config.Name && g.members[node.Name] == nil && len(g.members) >= maxMembers {
		g.noteConflict(fmt.Sprintf("there are %d other watchers already, and %s was refused", maxMembers, node.Name), func(log *zap.Logger) {
			log.Warn("a watcher was refused: there are too many", zap.String("name", node.Name), zap.Int("most", maxMembers))
		})
		return fmt.Errorf("there are %d other watchers already", maxMembers)
	}
	return nil
}

// NotifyConflict says that two watchers have one name.
func (d *delegate) NotifyConflict(existing, other *memberlist.Node) {
	text := fmt.Sprintf("%s and %s are both called %s: change watch.name of one", existing.Address(), other.Address(), existing.Name)
	(*Group)(d).setConflict(text, func(log *zap.Logger) {
		log.Error("two watchers have the same name: change watch.name of one", zap.String("name", existing.Name),
			zap.String("address", existing.Address()), zap.String("other", other.Address()))
	})
}

// memoryOfConflict is for how long a conflict is shown that has not come up again.
const memoryOfConflict = time.Minute

// setConflict notes what keeps watchers apart, and logs it if it is new.
func (g *Group) setConflict(text string, write func(*zap.Logger)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.noteConflict(text, write)
}

// noteConflict is setConflict where g.mu is held.
func (g *Group) noteConflict(text string, write func(*zap.Logger)) {
	if g.o.Now().Sub(g.conflictAt) >= memoryOfConflict {
		write(g.o.Log)
	}
	g.conflict, g.conflictAt = text, g.o.Now()
}

// setMember takes in that a member lives, or is gone.
func (g *Group) setMember(node *memberlist.Node, alive bool) {
	if node.Name == g.o.Config.Name {
		return
	}
	var said meta
	if err := json.Unmarshal(node.Meta, &said); err != nil {
		g.o.Log.Debug("a watcher says of itself what cannot be read", zap.String("name", node.Name), zap.Error(err))
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	m := g.members[node.Name]
	if m == nil {
		m = new(member)
		g.members[node.Name] = m
	}
	if m.alive != alive || m.since.IsZero() {
		m.alive, m.since = alive, g.o.Now()
		event := "watcher lost"
		switch {
		case alive:
			event, m.stopped = "watcher joined", false
		case m.stopped:
			event = "watcher stopped"
		}
		g.o.Log.Info(event, zap.String("name", node.Name), zap.String("address", node.Address()))
	}
	if said.Quorum != m.meta.Quorum && said.otherQuorum(g.o.Config.Quorum) {
		g.o.Log.Warn("another watcher has another quorum: set watch.quorum to the same for all", zap.String("name", node.Name),
			zap.Float64("quorum", said.Quorum), zap.Float64("own", g.o.Config.Quorum))
	}
	m.address, m.meta = node.Address(), said
	if alive {
		g.forgetGone()
	}
	signal(g.changed)
}

// otherQuorum reports whether a watcher goes by another quorum than this one.
func (m *meta) otherQuorum(own float64) bool { return m.Quorum != 0 && m.Quorum != own }

// forgetGone drops what members have said that have been gone for long, and those that were stopped, or stand in the
// way of others. One that was lost is to be named until it is back. g.mu is held.
func (g *Group) forgetGone() {
	for name, m := range g.members {
		switch {
		case !g.goneForLong(m):
		case m.stopped, len(g.members) >= maxMembers:
			delete(g.members, name)
		default:
			m.book, m.whole = Book{}, time.Time{}
		}
	}
}

// memoryOfGone is for how long a member that is gone is sought, and what it has said is remembered.
const memoryOfGone = time.Hour

func (g *Group) goneForLong(m *member) bool { return !m.alive && g.o.Now().Sub(m.since) > memoryOfGone }

// take takes in what was sent, and reports whether it was news.
func (g *Group) take(data []byte) (news bool) {
	v := g.parse(data)
	switch {
	case v == nil:
		return false
	case v.Want != "":
		g.noteWant(v)
		return false
	}
	return g.takeView(v)
}

// longView is how many bytes of a view are read while no other one as long is.
const longView = 64 << 10

// parse reads a view; nil if it cannot be read.
func (g *Group) parse(data []byte) *View {
	if len(data) > longView {
		g.parsing.Lock()
		defer g.parsing.Unlock()
	}
	v, err := parseView(data)
	if err != nil {
		g.o.Log.Debug("another watcher has sent what cannot be read", zap.Error(err))
		return nil
	}
	return v
}

// takeView takes in a view, and reports whether it was news. One of a watcher that is no member is of no use; one that
// is gone may be about to come back.
func (g *Group) takeView(v *View) (news bool) {
	limit := uint64(max(g.o.Now().UnixNano(), leastTime) + int64(maxAhead))
	if v.Count > limit || v.Changes > limit {
		g.o.Log.Debug("another watcher has sent a count that is far ahead", zap.String("name", v.Watcher), zap.Uint64("count", v.Count))
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if v.Watcher == g.o.Config.Name {
		if g.own.surpass(v.Count, limit) {
			signal(g.changed)
		}
		return false
	}
	m := g.members[v.Watcher]
	if m == nil || m.book.isBehind(v) {
		return false
	}
	news = v.Count > m.book.count
	g.compareReleases(&m.book, v)
	changed := m.book.Merge(v, g.wants)
	m.hear(v, news, g.o.Now())
	if changed {
		g.claim(v)
		signal(g.changed)
	}
	return news || changed
}

// hear notes when a watcher has said something new, and whether all that it has said is known. What comes by way of a
// third one may be of an earlier run, under a clock that was ahead, and older than what was heard before.
func (m *member) hear(v *View, news bool, now time.Time) {
	if news {
		m.heard = now.Add(-time.Duration(v.Age) * time.Millisecond)
	}
	if news || v.Stopped && v.Count == m.book.count { // an exchange may have brought the count before
		m.stopped = v.Stopped
	}
	if news && v.Beat != 0 {
		m.beat = min(time.Duration(v.Beat)*time.Millisecond, maxBeat)
	}
	if m.book.current() {
		m.whole, m.missed = m.heard, missed{}
	}
}

// leastTime is a time that has passed. A host without a clock of its own begins in 1970.
const leastTime = 1_700_000_000e9

// A logWriter is where memberlist logs. What matters of it is logged by this package, in its own words; the rest
// includes what anyone can cause who reaches the port.
type logWriter struct{ g *Group }

// Write logs one line.
func (w logWriter) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("push/pull merge")) && bytes.Contains(line, []byte("delegate protocol version")) {
		w.g.setConflict("another watcher speaks another version of the protocol, and was refused: run the same version of mirrorpool on all",
			func(log *zap.Logger) { log.Warn("a watcher that speaks another version of the protocol was refused") })
	}
	w.g.o.Log.Debug("memberlist", zap.ByteString("says", bytes.TrimSpace(line)))
	return len(line), nil
}
