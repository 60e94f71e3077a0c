package watch

import (
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"mirrorpool/health"
)

// Apply shares what a report says, and makes the verdicts in it the joint ones.
func (g *Group) Apply(r *health.Report) {
	g.mu.Lock()
	news, whole := g.own.observe(r, g.o.Config.Name)
	g.warnTooMany(r)
	g.follow(r)
	others := g.counted(r.At)
	if len(others) < minOthers {
		others = nil
	}
	if len(others) > 0 || len(g.joints) > 0 {
		g.decide(r, others)
	}
	g.mu.Unlock()
	switch {
	case whole:
		signal(g.whole)
	case news != nil:
		g.broadcast(news)
	}
}

// warnTooMany logs which mirrors have come to have more endpoints than are shared. g.mu is held.
func (g *Group) warnTooMany(r *health.Report) {
	var tooMany map[string]bool
	for prefix, m := range r.Mirrors {
		n := len(m.Endpoints) + count(m.Rsync != nil)
		if n <= maxOpinions {
			continue
		}
		if tooMany == nil {
			tooMany = map[string]bool{}
		}
		tooMany[prefix] = true
		if !g.tooMany[prefix] {
			g.o.Log.Warn("a mirror has more endpoints than are shared with other watchers", zap.String("mirror", prefix),
				zap.Int("endpoints", n), zap.Int("shared", maxOpinions))
		}
	}
	g.tooMany = tooMany
}

// follow takes over the list of mirrors and the interval. g.mu is held.
func (g *Group) follow(r *health.Report) {
	g.young = silence*r.Policy.Interval + r.Policy.Timeout
	others := len(g.wanted) != len(r.Mirrors)
	for prefix := range r.Mirrors {
		others = others || !g.wanted[prefix]
	}
	if !others {
		return
	}
	g.wanted = make(map[string]bool, len(r.Mirrors))
	for prefix := range r.Mirrors {
		g.wanted[prefix] = true
	}
	for _, m := range g.members {
		m.book.forget(g.wants)
	}
	maps.DeleteFunc(g.joints, func(prefix string, _ map[place]joint) bool { return !g.wanted[prefix] })
	maps.DeleteFunc(g.looked, func(prefix string, _ time.Time) bool { return !g.wanted[prefix] })
	maps.DeleteFunc(g.releases, func(prefix string, _ bool) bool { return !g.wanted[prefix] })
}

// wants reports whether a mirror is in this watcher's own list. g.mu is held.
func (g *Group) wants(urlPrefix string) bool { return g.wanted[urlPrefix] }

// counted are the other watchers whose opinions count at a time. One that checks more seldom than this one also says
// more seldom that it is alive. One of which something is missed counts for a while, because others pass that on. g.mu
// is held.
func (g *Group) counted(now time.Time) map[string]*member {
	list := map[string]*member{}
	for name, m := range g.members {
		heard := now.Sub(m.heard) <= max(g.young, silence*m.beat+time.Second)
		if m.alive && heard && !m.whole.IsZero() && now.Sub(m.whole) <= patience(g.young) {
			list[name] = m
		}
	}
	return list
}

// patience is for how long opinions count of a watcher of which something is missed. A few lost packets, or a busy
// host, must not make it abstain.
func patience(young time.Duration) time.Duration { return max(2*young, 30*time.Second) }

// decide makes the verdicts in a report the joint ones. g.mu is held.
func (g *Group) decide(r *health.Report, others map[string]*member) {
	by := rule{g.o.Config.Quorum, g.young, r.Policy.Interval}
	for prefix, m := range r.Mirrors {
		said := make(map[place][]vote, len(m.Endpoints)+1)
		for name, other := range others {
			for _, o := range other.book.mirrors[prefix].List {
				if !other.meta.counts(o.Role) {
					o.State = health.Unknown
				}
				said[o.place()] = append(said[o.place()], vote{name, o})
			}
		}
		judge := func(e *health.Endpoint, p place) {
			own := vote{g.o.Config.Name, opinionOf(e, p)}
			if !(&meta{Roles: g.roles}).counts(p.role) {
				own.State = health.Unknown
			}
			g.joints.apply(prefix, p, e, append([]vote{own}, said[p]...), by, r.At)
		}
		for i := range m.Endpoints {
			e := &m.Endpoints[i]
			judge(e, place{e.Address, e.Role})
			if e.State == health.Up && e.Role != health.Rsync {
				m.Newcomer[e.Role] = false
			}
		}
		if m.Rsync != nil {
			judge(m.Rsync, place{role: health.Rsync})
		}
		g.joints.dropOld(prefix, &m, by, r.At)
		r.Mirrors[prefix] = m
	}
}

// dropOld drops what was decided of addresses that a mirror does not have any more, once it does not hold any more: a
// mirror may have others at each look-up.
func (j jointVerdicts) dropOld(prefix string, m *health.MirrorReport, by rule, now time.Time) {
	if len(j[prefix]) <= len(m.Endpoints)+count(m.Rsync != nil) {
		return
	}
	maps.DeleteFunc(j[prefix], func(p place, v joint) bool {
		has := p.role == health.Rsync && m.Rsync != nil ||
			slices.ContainsFunc(m.Endpoints, func(e health.Endpoint) bool { return p == place{e.Address, e.Role} })
		age := now.Sub(v.at)
		return !has && (age < 0 || age > by.young)
	})
}

// counts reports whether a watcher's opinions count for a role.
func (m *meta) counts(role health.Role) bool {
	return len(m.Roles) == 0 || slices.Contains(m.Roles, role)
}

// claim notes that another watcher holds mirrors unfit: they want a second look, though not more often than every
// interval, whatever others claim. g.mu is held.
func (g *Group) claim(v *View) {
	now := g.o.Now()
	for prefix, m := range v.Mirrors {
		if slices.ContainsFunc(m.List, func(o Opinion) bool { return o.unfit() }) && g.wanted[prefix] &&
			now.Sub(g.looked[prefix]) >= g.young/silence {
			g.looked[prefix] = now
			g.claims[prefix] = true
		}
	}
}

// compareReleases notes of which mirrors another watcher has just learned that they carry other files of the newest
// release than is known here. g.mu is held.
func (g *Group) compareReleases(said *Book, v *View) {
	for prefix, m := range v.Mirrors {
		old, own := said.mirrors[prefix], g.own.mirrors[prefix]
		if m.Count > old.Count && m.Release != old.Release && m.Release != 0 && m.Release != own.Release && g.wanted[prefix] {
			g.releases[prefix] = true
		}
	}
}

// Releases returns the mirrors of which another watcher has learned since the last call that they carry other files of
// the newest release than this watcher knows of.
func (g *Group) Releases() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := slices.Sorted(maps.Keys(g.releases))
	clear(g.releases)
	return list
}

// Claims returns the mirrors that another watcher has found unfit since the last call: this one should look at them,
// because it takes two to decide.
func (g *Group) Claims() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := slices.Sorted(maps.Keys(g.claims))
	clear(g.claims)
	return list
}
