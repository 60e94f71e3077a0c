package watch

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/health"
)

const (
	modelMirrors  = 4
	modelInterval = 20 * time.Second // of the servers' checks
	modelYoung    = 3*modelInterval + time.Second
	modelPatience = 2 * modelYoung // with one that has missed something
)

// A modelEndpoint is a mirror in a role.
type modelEndpoint struct {
	mirror int
	role   health.Role
}

var modelEndpoints = func() (list []modelEndpoint) {
	for i := range modelMirrors {
		list = append(list, modelEndpoint{i, health.HTTP}, modelEndpoint{i, health.DNS})
	}
	return list
}()

func (e modelEndpoint) prefix() string { return fmt.Sprintf("https://m%d.example.net/", e.mirror) }

func (e modelEndpoint) address() netip.Addr {
	return netip.AddrFrom4([4]byte{192, 0, 2, byte(e.mirror + 1)})
}

// randomLetter is what may be seen of an endpoint: u up, d down, D down with evidence, S stale, - unknown.
func randomLetter(r *rand.Rand) byte { return "uuuuddDS-"[r.IntN(9)] }

// A modelServer is a server of the group, and what the model knows of it.
type modelServer struct {
	*Group
	world   *modelWorld
	name    string
	role    []health.Role // for which it counts; empty: all
	clock   time.Duration // by how much it is ahead
	stepped time.Time     // when that changed while it ran
	seen    map[modelEndpoint]byte
	lies    bool // it says anything of anything
	stopped bool
	lacks   [modelMirrors]bool // mirrors that its list does not have
	listed  [modelMirrors]bool // those that it had when it last came to verdicts

	suspects bool // itself: then what fails there is no vote
	peers    map[string]*modelPeer
	joint    map[modelEndpoint]modelJoint
	told     map[modelEndpoint]map[byte]time.Time // when it last said what of an endpoint, by true time
	verdicts map[modelEndpoint]byte
	saw      map[modelEndpoint]modelJoint

	snapshot   *dnspool.Snapshot
	lastSerial uint32
	contents   map[uint32]uint64 // of all its versions, by serial
	beatAt     time.Time
	rebuildAt  time.Time
	exchangeAt time.Time
	catchUpAt  time.Time
}

// A modelPeer is what a server knows of another one.
type modelPeer struct {
	known    bool
	alive    bool
	since    time.Time // when that was to change; zero if it is as it is
	gone     time.Time // when it left
	roles    []health.Role
	count    uint64
	complete uint64 // the count since which what is not in its list is none of its mirrors
	heard    time.Time
	knew     time.Time // heard, when nothing of what it had said was missed; zero: never
	said     map[string]Opinions
	last     uint64                       // the latest change that it is known to have told of
	whole    uint64                       // all up to this one have come
	got      map[uint64]bool              // changes beside that
	listed   struct{ count, last uint64 } // what they were when the server last got another list
}

// old reports whether a view may be older than what the server had heard when it got another list.
func (p *modelPeer) old(v *View) bool { return v.Count < p.listed.count && v.Changes < p.listed.last }

// beyond is how many changes have come after one that has not.
func (p *modelPeer) beyond() (n int) {
	for p.got[p.whole+1] {
		p.whole++
	}
	for change := range p.got {
		n += count(change > p.whole)
	}
	return n
}

// missed reports whether a change is known of that has not come.
func (p *modelPeer) missed() bool {
	for n := p.last; n > p.whole; n-- {
		if !p.got[n] {
			return true
		}
	}
	return false
}

func (s *modelServer) now() time.Time { return s.world.time.Add(s.clock) }

// see makes the server see an endpoint otherwise.
func (s *modelServer) see(r *rand.Rand) {
	s.seen[modelEndpoints[r.IntN(len(modelEndpoints))]] = randomLetter(r)
}

// hear is what the model makes of a view that the server gets: of each part, the one with the highest count.
func (s *modelServer) hear(v *View) {
	p := s.peers[v.Watcher]
	if p == nil || !p.known || v.Age != 0 && v.Count < p.count && v.Changes < p.last { // by a third that has missed something
		return
	}
	switch {
	case p.old(v):
	case v.Complete != 0:
		p.whole = max(p.whole, v.Changes)
	case len(v.Mirrors) > 0 && p.beyond() < maxBeyond:
		p.got[v.Changes] = true
	}
	if v.Count == p.count {
		p.last = max(p.last, v.Changes)
	} else if v.Count > p.count {
		p.count, p.last = v.Count, v.Changes
		p.heard = s.now().Add(-time.Duration(v.Age) * time.Millisecond)
	}
	if !p.missed() {
		p.knew = p.heard
	}
	p.complete = max(p.complete, v.Complete)
	for prefix, m := range v.Mirrors {
		said, known := p.said[prefix]
		if s.inList(prefix) && m.Count > said.Count && (known || !p.old(v)) {
			p.said[prefix] = m
		}
	}
	maps.DeleteFunc(p.said, func(prefix string, m Opinions) bool { return m.Count < p.complete })
}

// inList reports whether a mirror is in the list by which the server has come to verdicts.
func (s *modelServer) inList(prefix string) bool {
	for i, listed := range s.listed {
		if listed && prefix == (modelEndpoint{mirror: i}).prefix() {
			return true
		}
	}
	return false
}

// takeList takes over the list of mirrors. What was said of those that it has now was not kept.
func (s *modelServer) takeList() {
	var listed [modelMirrors]bool
	for i := range listed {
		listed[i] = !s.lacks[i]
	}
	if listed == s.listed {
		return
	}
	s.listed = listed
	for _, p := range s.peers {
		maps.DeleteFunc(p.said, func(prefix string, _ Opinions) bool { return !s.inList(prefix) })
		p.whole, p.got = 0, map[uint64]bool{}
		p.listed.count, p.listed.last = p.count, p.last
	}
	maps.DeleteFunc(s.joint, func(e modelEndpoint, _ modelJoint) bool { return !listed[e.mirror] })
}

// forgetGoneInModel has the model forget what it heard of those that have been gone for long.
func (s *modelServer) forgetGoneInModel() {
	for _, p := range s.peers {
		if !p.alive && s.now().Sub(p.gone) > memoryOfGone {
			*p = modelPeer{known: p.known, since: p.since, gone: p.gone, roles: p.roles, said: map[string]Opinions{}, got: map[uint64]bool{}}
		}
	}
}

// says is what the server says of an endpoint.
func (s *modelServer) says(e modelEndpoint) byte {
	letter := s.seen[e]
	if s.suspects && letter != 'u' || len(s.role) > 0 && !slices.Contains(s.role, e.role) {
		return '-'
	}
	return letter
}

// counts reports whether what another server has said counts.
func (s *modelServer) counts(p *modelPeer) bool {
	return p.alive && s.now().Sub(p.heard) <= modelYoung && !p.knew.IsZero() && s.now().Sub(p.knew) <= modelPatience
}

// counted is what the others have said of an endpoint that count now, by server; nothing with fewer than two of them.
func (s *modelServer) counted(e modelEndpoint) map[string]byte {
	said := map[string]byte{}
	others := 0
	for name, p := range s.peers {
		if !s.counts(p) {
			continue
		}
		others++
		for _, o := range p.said[e.prefix()].List {
			if o.Role == e.role && (len(p.roles) == 0 || slices.Contains(p.roles, e.role)) {
				said[name] = letterOf(o.State, o.Evidence)
			}
		}
	}
	if others < 2 {
		return map[string]byte{}
	}
	return said
}

// letterOf is a state as a letter.
func letterOf(state health.State, evidence bool) byte {
	letter := map[health.State]byte{health.Up: 'u', health.Down: 'd', health.Stale: 's', health.Unknown: '-'}[state]
	if evidence {
		letter -= 'a' - 'A'
	}
	return letter
}

// since is since when the server sees of an endpoint what it sees.
func (s *modelServer) since(e modelEndpoint) time.Time {
	if saw := s.saw[e]; saw.letter != s.seen[e] {
		s.saw[e] = modelJoint{letter: s.seen[e], at: s.now()}
	}
	return s.saw[e].at
}

// report is what the server's own checks know.
func (s *modelServer) report() *health.Report {
	r := &health.Report{At: s.now(), Mirrors: map[string]health.MirrorReport{},
		Policy: health.Policy{Interval: modelInterval, Timeout: time.Second}}
	if s.suspects {
		r.Suspects = []health.Suspect{{Name: health.SuspectResolver}}
	}
	for _, e := range modelEndpoints {
		if s.lacks[e.mirror] {
			continue
		}
		if s.lies {
			s.seen[e] = randomLetter(s.world.random)
		}
		o := opinionsFrom(string(s.seen[e]))[0]
		endpoint := health.Endpoint{Address: e.address(), Role: e.role,
			Verdict: health.Verdict{State: o.State, Since: s.since(e), Evidence: o.Evidence, Reason: "seen from " + s.name}}
		if s.suspects {
			endpoint.Suspect = health.SuspectResolver
		}
		m := r.Mirrors[e.prefix()]
		m.Endpoints = append(m.Endpoints, endpoint)
		r.Mirrors[e.prefix()] = m
	}
	return r
}

// rebuild does what a server does when something has changed: it comes to joint verdicts, and to a version of the zone,
// of which it tells the others. Both have to be right.
func (s *modelServer) rebuild() error {
	s.takeList()
	r := s.report()
	s.Apply(r)
	s.remember()
	if err := s.checkHeld(); err != nil {
		return err
	}
	if err := s.checkAge(); err != nil {
		return err
	}
	for _, e := range modelEndpoints {
		if s.lacks[e.mirror] {
			continue
		}
		i := slices.IndexFunc(r.Mirrors[e.prefix()].Endpoints, func(x health.Endpoint) bool { return x.Role == e.role })
		got := letterOf(r.Mirrors[e.prefix()].Endpoints[i].State, false)
		s.verdicts[e] = got
		want := s.expect(e)
		if said := lettersOf(s.votes(e)); got != want {
			return fmt.Errorf("at %s %v is %c, want %c of %s", s.name, e, got, want, said)
		} else if agreed := butOne(said); agreed != 0 && agreed != modelRule(said) {
			return fmt.Errorf("at %s %v is to be %c, though all but one say %c: %s", s.name, e, modelRule(said), agreed, said)
		}
	}
	if err := s.build(r); err != nil {
		return err
	}
	s.Announce(ZoneVersion{Serial: s.snapshot.Serial, Content: s.snapshot.Content})
	return nil
}

// remember notes what the server says, for checkAge.
func (s *modelServer) remember() {
	for _, e := range modelEndpoints {
		for _, o := range s.own.mirrors[e.prefix()].List {
			if o.Role != e.role {
				continue
			}
			if s.told[e] == nil {
				s.told[e] = map[byte]time.Time{}
			}
			s.told[e][letterOf(o.State, o.Evidence)] = s.world.time
		}
	}
}

// build makes a version of the zone, and holds the rules on what it tells.
func (s *modelServer) build(r *health.Report) error {
	in := dnspool.Input{Pool: &config.Pool{}, Health: r, Policy: dnspool.Policy{PanicThreshold: 0.5, MaxAnswers: 1}, Now: s.now(),
		Previous: s.snapshot, Last: dnspool.ZoneVersion{Serial: s.lastSerial, Content: s.contents[s.lastSerial]}, Rand: s.world.random,
		Agree: &dnspool.Agreement{Name: s.name, Versions: map[string]dnspool.ZoneVersion{}}}
	for name, v := range s.ZoneVersions() {
		in.Agree.Versions[name] = dnspool.ZoneVersion(v)
	}
	enabled, up := 0, 0
	for i, on := range s.world.list {
		if s.lacks[i] {
			continue
		}
		e := modelEndpoint{i, health.DNS}
		m := config.Mirror{URLPrefix: e.prefix()}
		m.URL, _ = url.Parse(m.URLPrefix)
		if on {
			m.Weight, m.DNS.Weight = 10, 10
			enabled++
			if s.verdicts[e] == 'u' {
				up++
			}
		}
		in.Pool.Mirrors = append(in.Pool.Mirrors, m)
	}
	s.snapshot = dnspool.Build(in)
	served := s.snapshot.DNS(dnspool.IPv4).Addresses
	if enabled > 0 && len(served) == 0 {
		return fmt.Errorf("rule 2: %s has no answer", s.name)
	}
	for i, on := range s.world.list {
		e := modelEndpoint{i, health.DNS}
		on = on && !s.lacks[i]
		answered := slices.Contains(served, e.address())
		switch {
		case answered && !on:
			return fmt.Errorf("rule 1: %s answers m%d, which is disabled", s.name, i)
		case answered && s.verdicts[e] == 'd' && 2*up > enabled, !answered && on && s.verdicts[e] == 'u':
			return fmt.Errorf("%s answers m%d: %v; it is %c there, and %d of %d are up", s.name, i, answered, s.verdicts[e], up, enabled)
		}
	}
	return s.checkSerial()
}

// checkSerial holds that serials grow, and that each stands for one content.
func (s *modelServer) checkSerial() error {
	serial := s.snapshot.Serial
	if s.lastSerial != 0 && serial != s.lastSerial && int32(serial-s.lastSerial) < 0 {
		return fmt.Errorf("%s goes back from version %d to %d", s.name, s.lastSerial, serial)
	}
	if content, known := s.contents[serial]; known && content != s.snapshot.Content {
		return fmt.Errorf("%s has version %d of content %x, and later of %x", s.name, serial, content, s.snapshot.Content)
	}
	s.lastSerial, s.contents[serial] = serial, s.snapshot.Content
	return nil
}
