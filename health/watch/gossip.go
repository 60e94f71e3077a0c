package watch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/memberlist"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

const (
	maxPacket = 1000 // bytes of a view that is gossiped: it must fit into a packet beside others
	maxParts  = 8    // of a view that is gossiped; a longer one goes over TCP as a whole
	maxQueued = 1000 // packets that wait to be gossiped

	// maxAhead is how far a count may be ahead of the time: a watcher's clock may be off by much, but counts must leave
	// room for those to come.
	maxAhead = 10 * 365 * 24 * time.Hour

	wholeEvery = time.Second // how often the whole view is sent to all, at most
	sendAtOnce = 8           // members that it is sent to at a time
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

// GetBroadcasts returns what is to be gossiped.
func (d *delegate) GetBroadcasts(overhead, limit int) [][]byte {
	return d.queue.GetBroadcasts(overhead, limit)
}

// LocalState returns this watcher's view, and what it has heard of the others: all of that for a member that joins, and
// else how far they have counted. So a member learns how high it has counted in an earlier run (see [Book.surpass]).
func (d *delegate) LocalState(join bool) []byte {
	g := (*Group)(d)
	g.mu.Lock()
	defer g.mu.Unlock()
	views := []*View{g.own.view(g.o.Config.Name)}
	for name, m := range g.members {
		if m.book.count == 0 {
			continue
		}
		v := m.book.view(name)
		if !join {
			v.Complete, v.Mirrors, v.Notes = 0, nil, nil
		}
		views = append(views, v)
	}
	var state bytes.Buffer
	for _, v := range views {
		text, err := json.Marshal(v)
		if err != nil { // it holds nothing that cannot be written
			continue
		}
		state.Write(text)
		state.WriteByte('\n')
	}
	return state.Bytes()
}

// MergeRemoteState takes in what another member's LocalState has returned.
func (d *delegate) MergeRemoteState(state []byte, _ bool) {
	if len(state) > maxViewBytes {
		return
	}
	n := 0
	for line := range bytes.Lines(state) {
		if n++; n > maxMembers+1 {
			return
		}
		(*Group)(d).take(line)
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
		return fmt.Errorf("there are %d other watchers already", maxMembers)
	}
	return nil
}

// NotifyConflict says that two watchers have one name.
func (d *delegate) NotifyConflict(existing, other *memberlist.Node) {
	g := (*Group)(d)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.o.Now().Sub(g.conflictAt) >= memoryOfConflict {
		g.o.Log.Error("two watchers have the same name: change watch.name of one", zap.String("name", existing.Name),
			zap.String("address", existing.Address()), zap.String("other", other.Address()))
	}
	g.conflict = fmt.Sprintf("%s and %s are both called %s: change watch.name of one", existing.Address(), other.Address(), existing.Name)
	g.conflictAt = g.o.Now()
}

// memoryOfConflict is for how long it is shown that two watchers had one name.
const memoryOfConflict = time.Minute

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
		if alive {
			event = "watcher joined"
		}
		g.o.Log.Info(event, zap.String("name", node.Name), zap.String("address", node.Address()))
	}
	m.address, m.meta = node.Address(), said
	if alive {
		g.forgetGone()
	}
	signal(g.changed)
}

// forgetGone drops members that have been gone for long, so that others may come. g.mu is held.
func (g *Group) forgetGone() {
	maps.DeleteFunc(g.members, func(_ string, m *member) bool {
		return !m.alive && g.o.Now().Sub(m.since) > memoryOfGone
	})
}

// memoryOfGone is for how long a member that is gone is shown, and sought.
const memoryOfGone = time.Hour

// take takes in a view, and reports whether it was news. One of a watcher that is no member is of no use; one that is
// gone may be about to come back.
func (g *Group) take(data []byte) (news bool) {
	v, err := parseView(data)
	if err != nil {
		g.o.Log.Debug("another watcher has sent what cannot be read", zap.Error(err))
		return false
	}
	now := g.o.Now()
	limit := uint64(max(now.UnixNano(), leastTime) + int64(maxAhead))
	if v.Count > limit {
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
	if m == nil {
		return false
	}
	if news = v.Count > m.book.count; news {
		m.heard = now
	}
	g.compareReleases(&m.book, v)
	if m.book.Merge(v, g.wants) {
		g.claim(v)
		signal(g.changed)
		return true
	}
	return news
}

// leastTime is a time that has passed. A host without a clock of its own begins in 1970.
const leastTime = 1_700_000_000e9

// enqueue has a packet gossiped. Where too many wait, because there is no other member to send them to, or another one
// floods, the oldest are dropped: the exchange of whole views makes up for that.
func (g *Group) enqueue(p *packet) {
	g.queue.QueueBroadcast(p)
	if g.queue.NumQueued() > maxQueued {
		g.queue.Prune(maxQueued)
	}
}

// beats says that this watcher is alive until ctx ends.
func (g *Group) beats(ctx context.Context) error {
	beat := time.NewTimer(0)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-beat.C:
			beat.Reset(g.beat())
		}
	}
}

// send sends this watcher's whole view when that is wanted, until ctx ends. Members that do not read hold it up, but no
// beat.
func (g *Group) send(ctx context.Context, list *memberlist.Memberlist) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-g.whole:
			g.sendWhole(ctx, list)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wholeEvery):
		}
	}
}

// beat gossips that this watcher is alive, and returns when to do so again.
func (g *Group) beat() time.Duration {
	g.mu.Lock()
	v := g.own.header(g.o.Config.Name)
	every := min(max(g.young/(silence*3), time.Second), 10*time.Second)
	g.mu.Unlock()
	if text, err := json.Marshal(v); err == nil {
		g.enqueue(&packet{text, g.o.Config.Name})
	}
	return every
}

// sendWhole sends this watcher's view to all others over TCP.
func (g *Group) sendWhole(ctx context.Context, list *memberlist.Memberlist) {
	g.mu.Lock()
	text, err := json.Marshal(g.own.view(g.o.Config.Name))
	g.mu.Unlock()
	if err != nil { // it holds nothing that cannot be written
		return
	}
	var sending errgroup.Group
	sending.SetLimit(sendAtOnce)
	for _, node := range list.Members() {
		if node.Name == g.o.Config.Name || ctx.Err() != nil {
			continue
		}
		sending.Go(func() error {
			if err := list.SendReliable(node, text); err != nil {
				g.o.Log.Debug("cannot send to another watcher", zap.String("name", node.Name), zap.Error(err))
			}
			return nil
		})
	}
	sending.Wait()
}

// broadcast gossips a view, or has the whole one sent if it is too large for that.
func (g *Group) broadcast(v *View) {
	parts, err := split(v)
	if err != nil || len(parts) > maxParts {
		signal(g.whole)
		return
	}
	for _, text := range parts {
		g.enqueue(&packet{text: text})
	}
}

var errTooLarge = errors.New("the opinions of one mirror do not fit into a packet")

// split writes a part of a view, in as many packets as it takes.
func split(v *View) ([][]byte, error) {
	text, err := json.Marshal(v)
	switch {
	case err != nil:
		return nil, err
	case len(text) <= maxPacket:
		return [][]byte{text}, nil
	case len(v.Mirrors) <= 1:
		return nil, errTooLarge
	}
	prefixes := slices.Sorted(maps.Keys(v.Mirrors))
	half := len(prefixes) / 2
	var parts [][]byte
	for _, some := range [...][]string{prefixes[:half], prefixes[half:]} {
		part := *v
		part.Mirrors = make(map[string]Opinions, len(some))
		for _, prefix := range some {
			part.Mirrors[prefix] = v.Mirrors[prefix]
		}
		texts, err := split(&part)
		if err != nil {
			return nil, err
		}
		parts = append(parts, texts...)
	}
	return parts, nil
}

// A packet is a view that is gossiped.
type packet struct {
	text []byte
	beat string // the watcher, if all that it says is that this one is alive
}

// Invalidates reports whether an older packet need not be sent any more.
func (p *packet) Invalidates(old memberlist.Broadcast) bool {
	other, ok := old.(*packet)
	return ok && p.beat != "" && p.beat == other.beat
}

// Message returns the view.
func (p *packet) Message() []byte { return p.text }

// Finished does nothing.
func (p *packet) Finished() {}

// A logWriter is where memberlist logs. What matters of it is logged by this package, in its own words; the rest
// includes what anyone can cause who reaches the port.
type logWriter struct{ log *zap.Logger }

// Write logs one line.
func (w logWriter) Write(line []byte) (int, error) {
	w.log.Debug("memberlist", zap.ByteString("says", bytes.TrimSpace(line)))
	return len(line), nil
}
