package watch

import (
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"mirrorpool/health"
)

// TestCounted: another watcher counts for as long as it was heard of in time by its own beat or this watcher's
// interval, is alive, and was complete not too long ago.
func TestCounted(t *testing.T) {
	t.Parallel()
	now := time.Unix(2e9, 0)
	const second = time.Second
	g := newGroupNamed(t, func() time.Time { return now }, "fra", "ams")
	g.young = 10 * second
	long := patience(g.young)
	if long != 30*second || patience(20*second) != 40*second {
		t.Errorf("patience for %v", long)
	}
	for _, test := range []struct {
		heard, whole, beat time.Duration // before now
		alive, want        bool
	}{
		{0, 0, 0, true, true},
		{0, 0, 0, false, false},
		{10 * second, 10 * second, 0, true, true},
		{10*second + 1, 10*second + 1, 0, true, false},
		{16 * second, 16 * second, 5 * second, true, true}, // three beats, and a second
		{16*second + 1, 16*second + 1, 5 * second, true, false},
		{0, long, 0, true, true},
		{0, long + 1, 0, true, false},
	} {
		m := g.members["ams"]
		m.alive, m.beat, m.heard, m.whole = test.alive, test.beat, now.Add(-test.heard), now.Add(-test.whole)
		if got := g.counted(now)["ams"] == m; got != test.want {
			t.Errorf("%+v: it counts: %v", test, got)
		}
	}
	g.members["ams"].whole = time.Time{}
	if len(g.counted(now)) > 0 {
		t.Error("one of which never all was heard counts")
	}
}

// TestListChanges: what is known of a mirror is forgotten when it leaves the list, and nothing else.
func TestListChanges(t *testing.T) {
	t.Parallel()
	now := time.Unix(2e9, 0)
	g := newGroupNamed(t, func() time.Time { return now }, "fra", "ams")
	report := func(names ...string) *health.Report {
		r := &health.Report{At: now, Mirrors: map[string]health.MirrorReport{}, Policy: health.Policy{Interval: time.Minute, Timeout: 5 * time.Second}}
		for _, name := range names {
			r.Mirrors[name] = health.MirrorReport{}
		}
		return r
	}
	for _, step := range []struct{ list, want []string }{
		{[]string{"a", "b", "c"}, []string{"a", "b"}}, // c is not known of
		{[]string{"a", "c"}, []string{"a"}},
		{[]string{"a", "d"}, []string{"a"}}, // as many, but another one
	} {
		g.joints, g.looked, g.releases = jointVerdicts{}, map[string]time.Time{}, map[string]bool{}
		g.members["ams"].book.mirrors = map[string]Opinions{}
		for _, name := range []string{"a", "b"} {
			g.joints[name], g.looked[name], g.releases[name] = map[place]joint{}, now, true
			g.members["ams"].book.mirrors[name] = Opinions{Count: 1}
		}
		g.follow(report(step.list...))
		for what, got := range map[string][]string{
			"joint verdicts": slices.Sorted(maps.Keys(g.joints)), "looks": slices.Sorted(maps.Keys(g.looked)),
			"releases": slices.Sorted(maps.Keys(g.releases)), "opinions": slices.Sorted(maps.Keys(g.members["ams"].book.mirrors)),
		} {
			if !slices.Equal(got, step.want) {
				t.Errorf("%v: %s of %v are kept, want %v", step.list, what, got, step.want)
			}
		}
		if g.young != 3*time.Minute+5*time.Second {
			t.Errorf("young: %v", g.young)
		}
		for _, name := range []string{"a", "b", "c", "d"} {
			if g.wants(name) != slices.Contains(step.list, name) {
				t.Errorf("%v: %s is wanted: %v", step.list, name, g.wants(name))
			}
		}
	}
	g.joints["x"] = map[place]joint{} // kept while the list stays
	if g.follow(report("a", "d")); len(g.joints) != 2 {
		t.Error("with the same list, something is forgotten")
	}
}

// TestClaimsAreBounded: a mirror that another watcher holds unfit is looked at again, once within an interval.
func TestClaimsAreBounded(t *testing.T) {
	t.Parallel()
	now := time.Unix(2e9, 0)
	g := newGroupNamed(t, func() time.Time { return now }, "fra", "ams")
	g.young, g.wanted = 30*time.Second, map[string]bool{"a": true, "b": true}
	view := &View{Mirrors: map[string]Opinions{
		"a": {List: []Opinion{{State: health.Up}, {State: health.Stale}}}, "b": {List: []Opinion{{State: health.Up}, {}}},
		"stranger": {List: []Opinion{{State: health.Down}}},
	}}
	for _, step := range []struct {
		after time.Duration
		want  int
	}{{0, 1}, {0, 0}, {10*time.Second - 1, 0}, {1, 1}, {time.Second, 0}} {
		now = now.Add(step.after)
		g.claim(view)
		if got := g.Claims(); len(got) != step.want || len(got) > 0 && got[0] != "a" {
			t.Errorf("after %v: %q", step.after, got)
		}
	}
}

// TestCountsForRoles: a watcher's eyes count for the roles that it names, or for all.
func TestCountsForRoles(t *testing.T) {
	t.Parallel()
	now := time.Unix(2e9, 0)
	addr := netip.MustParseAddr("192.0.2.1")
	for own, want := range map[string]health.State{"all": health.Down, "dns": health.Unknown, "http": health.Down} {
		g := newGroupNamed(t, func() time.Time { return now }, "fra", "ams", "nyc")
		g.roles = map[string][]health.Role{"dns": {health.DNS}, "http": {health.HTTP}}[own]
		r := &health.Report{At: now, Policy: health.Policy{Interval: time.Minute}, Mirrors: map[string]health.MirrorReport{"a": {
			Endpoints: []health.Endpoint{{Address: addr, Role: health.HTTP, Verdict: health.Verdict{State: health.Down, Since: now}}},
		}}}
		g.follow(r)
		for name, roles := range map[string][]health.Role{"ams": nil, "nyc": {health.DNS}} {
			m := g.members[name]
			m.heard, m.whole, m.meta.Roles = now, now, roles
			m.book.mirrors = map[string]Opinions{"a": {List: []Opinion{{Address: addr, Role: health.HTTP, State: health.Down}}}}
		}
		g.decide(r, g.counted(now))
		if got := g.joints["a"][place{addr, health.HTTP}].state; got != want {
			t.Errorf("with own eyes for %s it is %v, want %v", own, got, want)
		}
	}
}
