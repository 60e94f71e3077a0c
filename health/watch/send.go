package watch

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
	"go.uber.org/zap"
)

const (
	maxPacket = 1000 // bytes of a view that is gossiped: it must fit into a packet beside others
	maxParts  = 8    // of a view that is gossiped; a longer one goes over TCP as a whole

	maxBeat    = 10 * time.Second // between two of them
	wholeEvery = time.Second      // how often the whole view is sent to all, at most
	sendAtOnce = 8                // members that it is sent to at a time
)

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

// send sends this watcher's whole view when that is wanted, until ctx ends.
func (g *Group) send(ctx context.Context, list *memberlist.Memberlist) error {
	return g.sendOn(ctx, list, g.whole, wholeEvery, func() []letter {
		g.mu.Lock()
		v := g.own.view(g.o.Config.Name)
		g.mu.Unlock()
		return g.toAll(list, v.text())
	})
}

// sendOn sends letters when there is a token in wanted, and no more often than each pause, until ctx ends.
func (g *Group) sendOn(
	ctx context.Context, list *memberlist.Memberlist, wanted <-chan struct{}, pause time.Duration, letters func() []letter,
) error {
	s := g.newSender(list.Members, list.SendReliable)
	defer s.wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-wanted:
			s.post(ctx, letters())
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// beat gossips that this watcher is alive, and returns when to do so again.
func (g *Group) beat() time.Duration {
	g.mu.Lock()
	v := g.own.header(g.o.Config.Name)
	every := min(max(g.young/(silence*3), time.Second), maxBeat)
	v.Beat = uint32(every.Milliseconds())
	g.mu.Unlock()
	if text, err := json.Marshal(v); err == nil {
		g.enqueue(&packet{text, g.o.Config.Name})
	}
	return every
}

// sayGoodbye tells the others that this watcher stops and is not lost. memberlist then tells them that it is gone.
// Over UDP the first packet may be lost; more than two are not worth the time.
func (g *Group) sayGoodbye(ctx context.Context, list *memberlist.Memberlist) {
	g.mu.Lock()
	v := g.own.header(g.o.Config.Name)
	g.goodbye = true
	g.mu.Unlock()
	v.Stopped = true
	text, err := json.Marshal(v)
	if err != nil { // it holds nothing that cannot be written
		return
	}
	s := g.newSender(list.Members, list.SendBestEffort)
	for range 2 {
		s.post(ctx, g.toAll(list, text))
		s.wait()
	}
}

// toAll addresses a text to all others.
func (g *Group) toAll(list *memberlist.Memberlist, text []byte) (letters []letter) {
	for _, node := range list.Members() {
		if node.Name != g.o.Config.Name {
			letters = append(letters, letter{node.Name, text})
		}
	}
	return letters
}

// A letter is what is to be sent to one member.
type letter struct {
	to   string
	text []byte
}

// A sender sends letters to members, side by side: one that does not read holds up what is for it alone.
type sender struct {
	members func() []*memberlist.Node
	send    func(*memberlist.Node, []byte) error
	log     *zap.Logger
	slots   chan struct{} // for those that are sent to at a time
	sending sync.WaitGroup

	mu   sync.Mutex
	busy map[string]bool // members to which some are on the way
}

func (g *Group) newSender(members func() []*memberlist.Node, send func(*memberlist.Node, []byte) error) *sender {
	return &sender{members: members, send: send, log: g.o.Log, slots: make(chan struct{}, sendAtOnce), busy: map[string]bool{}}
}

// post has letters sent to members, as far as they are there. Those for a member to which earlier ones are still on the
// way are dropped: it learns from the next beat that it has missed something, and asks.
func (s *sender) post(ctx context.Context, letters []letter) {
	texts := map[string][][]byte{}
	for _, l := range letters {
		texts[l.to] = append(texts[l.to], l.text)
	}
	for _, node := range s.members() {
		if len(texts[node.Name]) == 0 || !s.begin(node.Name) {
			continue
		}
		s.sending.Go(func() {
			defer s.end(node.Name)
			select {
			case s.slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			defer func() { <-s.slots }()
			for _, text := range texts[node.Name] {
				if err := s.send(node, text); err != nil {
					s.log.Debug("cannot send to another watcher", zap.String("name", node.Name), zap.Error(err))
				}
			}
		})
	}
}

// wait waits until all letters have been sent, or failed.
func (s *sender) wait() { s.sending.Wait() }

// begin notes that letters to a member are on the way. It reports false if some are already.
func (s *sender) begin(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy[name] {
		return false
	}
	s.busy[name] = true
	return true
}

func (s *sender) end(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.busy, name)
}

// broadcast gossips a view, or has the whole one sent if it is too large for that.
func (g *Group) broadcast(v *View) {
	parts, err := split(v)
	if err != nil || len(parts) > maxParts {
		parts = nil
	}
	if v.tells() {
		g.mu.Lock()
		first := g.own.number(max(len(parts), 1))
		g.mu.Unlock()
		for i, part := range parts {
			part.Changes = first + uint64(i)
		}
	}
	if len(parts) == 0 {
		signal(g.whole)
	}
	for _, part := range parts {
		if text, err := json.Marshal(part); err == nil {
			g.enqueue(&packet{text: text})
		}
	}
}

var errTooLarge = errors.New("the opinions of one mirror do not fit into a packet")

// split makes a part of a view as many as it takes for each to fit into a packet, whatever its number.
func split(v *View) ([]*View, error) {
	largest := *v
	largest.Changes = math.MaxUint64
	text, err := json.Marshal(largest)
	switch {
	case err != nil:
		return nil, err
	case len(text) <= maxPacket:
		return []*View{v}, nil
	case len(v.Mirrors) <= 1:
		return nil, errTooLarge
	}
	prefixes := slices.Sorted(maps.Keys(v.Mirrors))
	half := len(prefixes) / 2
	var parts []*View
	for _, some := range [...][]string{prefixes[:half], prefixes[half:]} {
		part := *v
		part.Mirrors = make(map[string]Opinions, len(some))
		for _, prefix := range some {
			part.Mirrors[prefix] = v.Mirrors[prefix]
		}
		more, err := split(&part)
		if err != nil {
			return nil, err
		}
		parts = append(parts, more...)
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
