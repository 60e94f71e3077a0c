package watch

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/health"
)

const (
	modelTick   = 500 * time.Millisecond
	modelNotice = 3 * time.Second // after which a server is missed, or found
	modelFanOut = 3               // servers that a packet is gossiped to
	modelPacket = 1400
)

// A modelWorld is the servers, and the links between them.
type modelWorld struct {
	t       *testing.T
	random  *rand.Rand
	time    time.Time
	servers []*modelServer
	list    [modelMirrors]bool // which mirrors are enabled
	cut     map[string]bool    // by linkOf
	noTCP   map[string]bool    // by linkOf: packets pass
	loss    float64            // of packets
	flying  []modelFlight
	sent    int
}

// A modelFlight is a message on its way.
type modelFlight struct {
	at    time.Time
	order int
	to    *modelServer
	text  []byte
}

func newModelWorld(t *testing.T, r *rand.Rand) (*modelWorld, error) {
	w := &modelWorld{t: t, random: r, time: time.Unix(1_800_000_000, 0), list: [modelMirrors]bool{true, true, true, true},
		cut: map[string]bool{}, noTCP: map[string]bool{}}
	for i := range 3 + r.IntN(3) {
		s := &modelServer{world: w, name: fmt.Sprint("ns", i+1), seen: map[modelEndpoint]byte{}, contents: map[uint32]uint64{},
			told: map[modelEndpoint]map[byte]time.Time{}}
		if r.IntN(4) == 0 {
			s.role = []health.Role{health.Role(r.IntN(2))}
		}
		for _, e := range modelEndpoints {
			s.seen[e] = 'u'
		}
		w.servers = append(w.servers, s)
	}
	for _, s := range w.servers {
		if err := w.restart(s, r); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// restart starts a server, again if it runs. What it knew is gone but for the serial. Its clock may be another one.
func (w *modelWorld) restart(s *modelServer, r *rand.Rand) error {
	if r.IntN(3) == 0 {
		s.clock = time.Duration(r.IntN(7200)-3600) * time.Second
		if r.IntN(20) == 0 { // by up to a year
			s.clock *= 365 * 24
		}
	}
	file := filepath.Join(w.t.TempDir(), "watch.key")
	if err := os.WriteFile(file, []byte(key("one")), 0o600); err != nil {
		return err
	}
	c := config.Watch{Name: s.name, KeyFile: file, Quorum: 0.5}
	for _, role := range s.role {
		c.Counts = append(c.Counts, role.String())
	}
	var err error
	if s.Group, err = New(Options{Config: c, Version: "test", Log: zap.NewNop(), Now: s.now}); err != nil {
		return err
	}
	s.peers, s.joint, s.verdicts = map[string]*modelPeer{}, map[modelEndpoint]modelJoint{}, map[modelEndpoint]byte{}
	s.listed = [modelMirrors]bool{}
	s.snapshot, s.saw = nil, map[modelEndpoint]modelJoint{}
	for _, other := range w.servers {
		if other != s {
			s.peers[other.name] = &modelPeer{roles: other.role, said: map[string]Opinions{}, got: map[uint64]bool{}}
		}
	}
	s.beatAt, s.exchangeAt, s.catchUpAt = w.time, w.time, w.time
	return s.rebuild()
}

func linkOf(a, b *modelServer) string { return min(a.name, b.name) + " " + max(a.name, b.name) }

func (w *modelWorld) linked(a, b *modelServer) bool {
	return !a.stopped && !b.stopped && !w.cut[linkOf(a, b)]
}

// streams reports whether two servers can send each other what goes over TCP.
func (w *modelWorld) streams(a, b *modelServer) bool { return w.linked(a, b) && !w.noTCP[linkOf(a, b)] }

// partition cuts all links between two halves.
func (w *modelWorld) partition(r *rand.Rand) {
	half := map[*modelServer]bool{}
	for _, s := range w.servers {
		half[s] = r.IntN(2) == 0
	}
	for _, a := range w.servers {
		for _, b := range w.servers {
			if half[a] != half[b] {
				w.cut[linkOf(a, b)] = true
			}
		}
	}
}

func (w *modelWorld) heal() {
	clear(w.cut)
	clear(w.noTCP)
	w.loss = 0
}

// reached are the servers that one reaches, by way of others or not. memberlist has others ask, too, before it gives a
// member up.
func (w *modelWorld) reached(from *modelServer) map[*modelServer]bool {
	seen := map[*modelServer]bool{from: true}
	for queue := []*modelServer{from}; len(queue) > 0; queue = queue[1:] {
		for _, next := range w.servers {
			if !seen[next] && w.linked(queue[0], next) {
				seen[next] = true
				queue = append(queue, next)
			}
		}
	}
	return seen
}

// pass lets time pass, and all happen that is due.
func (w *modelWorld) pass(d time.Duration) error {
	for end := w.time.Add(d + modelTick); w.time.Before(end); {
		w.time = w.time.Add(modelTick)
		for _, s := range w.servers {
			if !s.stopped {
				w.notice(s)
				w.send(s)
				w.post(s)
			}
		}
		w.deliver()
		for _, s := range w.servers {
			select {
			case <-s.Changed():
			default:
				if w.time.Before(s.rebuildAt) {
					continue
				}
			}
			if s.stopped {
				continue
			}
			s.rebuildAt = w.time.Add(modelInterval / 4)
			if err := s.rebuild(); err != nil {
				return err
			}
		}
	}
	return nil
}

// notice has a server notice which others are there.
func (w *modelWorld) notice(s *modelServer) {
	reached := w.reached(s)
	for _, other := range w.servers {
		p := s.peers[other.name]
		if other == s || p.alive == reached[other] {
			if p != nil {
				p.since = time.Time{}
			}
			continue
		}
		if p.since.IsZero() {
			p.since = w.time
		}
		if w.time.Sub(p.since) < modelNotice {
			continue
		}
		p.known, p.alive, p.since = true, reached[other], time.Time{}
		node := &memberlist.Node{Name: other.name, Addr: net.IPv4(127, 0, 0, 1), Port: 7946, Meta: other.metadata()}
		if p.alive {
			(*delegate)(s.Group).NotifyJoin(node)
			s.forgetGoneInModel()
			if w.streams(s, other) {
				w.exchange(s, other, true)
			}
		} else {
			(*delegate)(s.Group).NotifyLeave(node)
			p.gone = s.now()
		}
	}
}

// send sends what a server says that is due.
func (w *modelWorld) send(s *modelServer) {
	if !w.time.Before(s.beatAt) {
		s.beatAt = w.time.Add(s.beat())
	}
	select {
	case <-s.whole:
		text, err := json.Marshal(s.own.view(s.name))
		if err != nil {
			w.t.Fatal(err)
		}
		for _, other := range w.servers {
			if other != s && w.streams(s, other) {
				w.fly(other, text)
			}
		}
	default:
	}
	for _, text := range (*delegate)(s.Group).GetBroadcasts(0, modelPacket) {
		for _, i := range w.random.Perm(len(w.servers))[:modelFanOut] {
			other := w.servers[i]
			for copies := 1 + w.random.IntN(5)/4; copies > 0 && other != s && w.linked(s, other); copies-- {
				if w.random.Float64() >= w.loss {
					w.fly(other, text)
				}
			}
		}
	}
	if other := w.servers[w.random.IntN(len(w.servers))]; !w.time.Before(s.exchangeAt) && other != s {
		s.exchangeAt = w.time.Add(syncEvery)
		if w.streams(s, other) {
			w.exchange(s, other, false)
		}
	}
}

// post sends what is for one server each.
func (w *modelWorld) post(s *modelServer) {
	if !w.time.Before(s.catchUpAt) {
		s.catchUpAt = w.time.Add(catchUpEvery)
		s.forgetGoneInModel()
		for _, l := range s.requests(s.now()) {
			if other := w.named(l.to); w.linked(s, other) && w.random.Float64() >= w.loss {
				w.fly(other, l.text)
			}
		}
	}
	replies := s.replies()
	slices.SortFunc(replies, func(a, b letter) int { return cmp.Or(cmp.Compare(a.to, b.to), bytes.Compare(a.text, b.text)) })
	for _, l := range replies { // in an order that is the same each time
		if other := w.named(l.to); w.streams(s, other) {
			w.fly(other, l.text)
		}
	}
}

func (w *modelWorld) named(name string) *modelServer {
	return w.servers[slices.IndexFunc(w.servers, func(s *modelServer) bool { return s.name == name })]
}

// fly sends a message, which may come after later ones.
func (w *modelWorld) fly(to *modelServer, text []byte) {
	w.sent++
	delay := time.Duration(w.random.IntN(2000)) * time.Millisecond
	w.flying = append(w.flying, modelFlight{w.time.Add(delay), w.sent, to, bytes.Clone(text)})
}

// deliver delivers what has come.
func (w *modelWorld) deliver() {
	slices.SortFunc(w.flying, func(a, b modelFlight) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.order, b.order)) })
	due := 0
	for due < len(w.flying) && !w.flying[due].at.After(w.time) {
		f := w.flying[due]
		due++
		if !f.to.stopped {
			f.to.getMessage(f.text)
		}
	}
	w.flying = slices.Delete(w.flying, 0, due)
}

// getMessage has both the server and its model hear a message.
func (s *modelServer) getMessage(text []byte) {
	var v View
	if err := json.Unmarshal(text, &v); err != nil {
		s.world.t.Fatal(err)
	}
	s.hear(&v)
	(*delegate)(s.Group).NotifyMsg(text)
}

// exchange has two servers exchange what they know over TCP.
func (w *modelWorld) exchange(a, b *modelServer, join bool) {
	first, second := (*delegate)(a.Group).LocalState(join), (*delegate)(b.Group).LocalState(join)
	a.getState(second)
	b.getState(first)
}

func (s *modelServer) getState(state []byte) {
	for line := range bytes.Lines(state) {
		var v View
		if err := json.Unmarshal(line, &v); err != nil {
			s.world.t.Fatal(err)
		}
		if v.tells() {
			s.hear(&v)
		}
	}
	(*delegate)(s.Group).MergeRemoteState(state, false)
}
