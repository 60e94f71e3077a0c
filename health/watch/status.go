package watch

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"mirrorpool/health"
)

// A Status is a group as one watcher knows it.
type Status struct {
	Name    string
	Problem string // why others cannot be reached, or ""
	// Joint reports whether enough watchers are heard of for joint verdicts.
	Joint   bool
	Members []Member // the others, by name; also those that are lost, and for an hour those that were stopped
}

// A Member is another watcher.
type Member struct {
	Name    string
	Address string // host:port
	Alive   bool
	Stopped bool      // it has left because it was told to
	Since   time.Time // when it joined, left, or was lost
	Heard   time.Time // when it last said something; zero if it never did
	Counts  bool      // it is alive, and was heard of in time
	Only    bool      // it serves no clients
	Version string
	// Roles are those for which its opinions count; empty: all.
	Roles []health.Role
	// Suspects are the names of what is wrong with its host, with commas between them; or "".
	Suspects string
	// Mirrors is how many mirrors of this watcher's list it has an opinion of.
	Mirrors int
	// OtherQuorum is the quorum by which it goes if that is not this watcher's own; or 0.
	OtherQuorum float64
}

// Said returns what a watcher, this one included, says of the mirrors in this watcher's list, by url_prefix, and of
// itself. It must not be changed. ok is false if there is no such watcher.
func (g *Group) Said(name string, now time.Time) (said map[string]Opinions, about Member, ok bool) {
	s := g.Status(now)
	g.mu.Lock()
	defer g.mu.Unlock()
	if name == g.o.Config.Name {
		return maps.Clone(g.own.mirrors), Member{Name: name, Alive: true, Counts: true, Suspects: g.own.suspects}, true
	}
	i := slices.IndexFunc(s.Members, func(m Member) bool { return m.Name == name })
	if i < 0 || g.members[name] == nil {
		return nil, Member{}, false
	}
	return maps.Clone(g.members[name].book.mirrors), s.Members[i], true
}

// Status returns what is known of the group at a time.
func (g *Group) Status(now time.Time) Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	counted := g.counted(now)
	s := Status{Name: g.o.Config.Name, Problem: g.problem, Joint: len(counted) >= minOthers}
	if now.Sub(g.conflictAt) < memoryOfConflict {
		s.Problem = g.conflict
	}
	for name, m := range g.members {
		other := 0.0
		if m.alive && m.meta.otherQuorum(g.o.Config.Quorum) {
			other = m.meta.Quorum
		}
		s.Members = append(s.Members, Member{
			Name: name, Address: m.address, Alive: m.alive, Stopped: !m.alive && m.stopped, Since: m.since, Heard: m.heard, Counts: counted[name] != nil,
			Only: m.meta.Only, Version: m.meta.Version, Roles: m.meta.Roles,
			Suspects: m.book.suspects, Mirrors: len(m.book.mirrors), OtherQuorum: other,
		})
	}
	slices.SortFunc(s.Members, func(a, b Member) int { return cmp.Compare(a.Name, b.Name) })
	return s
}
