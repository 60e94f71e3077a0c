package dnspool

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mirrorpool/config"
	"mirrorpool/health"
)

// override reads "drain NAME ROLE", "drain! NAME ROLE" for one that stays out anyway, or "force-up NAME ROLE".
func override(t *testing.T, text string) Override {
	t.Helper()
	fields := strings.Fields(text)
	prefix := "http://" + fields[1]
	if strings.Contains(fields[1], "://") {
		prefix = fields[1]
	}
	o := Override{Mirror: prefix + ".example.org/", Reason: "disk swap", By: "ann", Since: worldTime.Add(-time.Hour), Until: worldTime.Add(time.Hour)}
	kind, anyway := strings.CutSuffix(fields[0], "!")
	o.Anyway = anyway
	if err := o.Kind.UnmarshalText([]byte(kind)); err != nil {
		t.Fatal(err)
	}
	if err := o.Role.UnmarshalText([]byte(fields[2])); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestOverrides(t *testing.T) {
	t.Parallel()
	const three = "a 1 192.0.2.1=up/up 2001:db8::1=up/up\nb 1 192.0.2.2=up/up\nc 1 192.0.2.3=up/up\n"
	for name, test := range map[string]struct {
		world
		overrides []string
		dns, web  string // mirrors that are eligible in any family
		emptied   string // the group that the overrides leave without a mirror that is up
	}{
		"none":               {three, nil, "a b c", "a b c", ""},
		"drained for DNS":    {three, []string{"drain b dns"}, "a c", "a b c", ""},
		"drained for HTTP":   {three, []string{"drain b http"}, "a b c", "a c", ""},
		"drained for both":   {three, []string{"drain b dns", "drain b http"}, "a c", "a c", ""},
		"of another mirror":  {three, []string{"drain x dns"}, "a b c", "a b c", ""},
		"the last with IPv6": {three, []string{"drain! a dns"}, "b c", "a b c", "dns ipv6"},
		"all, and another list has left no other": {three, []string{"drain a dns", "drain b dns", "drain c dns"}, "a b c", "a b c", ""},
		"all, anyway":         {three, []string{"drain! a http", "drain! b http", "drain! c http"}, "a b c", "", "http ipv4"},
		"some of all, anyway": {three, []string{"drain! a http", "drain b http", "drain! c http"}, "a b c", "b", "http ipv6"},
		"the last that is up": {"a 1 192.0.2.1=up/up\nb 1 192.0.2.2=down/down", []string{"drain! a dns"}, "b", "a", "dns ipv4"},
		"one that is down":    {"a 1 192.0.2.1=up/up\nb 1 192.0.2.2=down/down", []string{"drain! b dns"}, "a", "a", ""},
		"a drain does not count as weight that is lost": {"a 1 192.0.2.1=up/up\nb 9 192.0.2.2=up/up\nc 1 192.0.2.3=unknown/unknown",
			[]string{"drain b dns", "drain b http"}, "a", "a", ""},
		"the only one that speaks https, as a last resort": {"a 1 https 192.0.2.1=up/up\nb 1 192.0.2.2=up/up",
			[]string{"drain https://a http"}, "a b", "a b", ""},
		"the only one that speaks https, anyway": {"a 1 https 192.0.2.1=up/up\nb 1 192.0.2.2=up/up",
			[]string{"drain! https://a http"}, "a b", "b", "http ipv4"},
		"one of two that speak https": {"a 1 https 192.0.2.1=up/up\nb 1 https 192.0.2.2=up/up",
			[]string{"drain https://a http"}, "a b", "b", ""},
		"one of two that are down": {"a 1 192.0.2.1=down/down\nb 1 192.0.2.2=down/down", []string{"drain! a dns"}, "b", "a b", ""},
		"the only one in DNS":      {"a 1 192.0.2.1=up/up\nb 1 dns=off 192.0.2.2=up/up", []string{"drain a dns"}, "a", "a b", ""},
		"the other is out of DNS":  {"a 1 192.0.2.1=up/up\nb 1 dns=off 192.0.2.2=up/up", []string{"drain a http"}, "a", "b", ""},
		"the others are disabled":  {"a 1 192.0.2.1=up/up\nb 0 192.0.2.2=up/up", []string{"drain a http"}, "a", "a", ""},
		"forced up while down":     {"a 1 192.0.2.1=up/up\nb 1 192.0.2.2=down/down", []string{"force-up b dns"}, "a b", "a", ""},
		"forced up for redirects, with rsync down": {"a 1 192.0.2.1=up/up\nb 1 rsync=down 192.0.2.2=stale/stale",
			[]string{"force-up b http"}, "a", "a b", ""},
		"forced up, but disabled": {"a 1 192.0.2.1=up/up\nb 0 192.0.2.2=down/down", []string{"force-up b dns", "force-up b http"}, "a", "a", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := test.input(t)
			before := Build(in)
			for _, text := range test.overrides {
				in.Overrides = in.Overrides.With(override(t, text))
			}
			s := Build(in)
			dns, web := eligibleNames(s)
			if dns != test.dns || web != test.web {
				t.Errorf("DNS: %q, want %q; redirects: %q, want %q", dns, test.dns, web, test.web)
			}
			emptied := ""
			if g, ok := before.Emptied(s); ok {
				emptied = fmt.Sprint(g.Role, " ", g.Family)
			}
			if emptied != test.emptied {
				t.Errorf("emptied: %q, want %q", emptied, test.emptied)
			}
			if s.Panic() && !before.Panic() && test.emptied == "" {
				t.Error("panic")
			}
		})
	}
}

// eligibleNames are the mirrors that are eligible for DNS answers and for redirects.
func eligibleNames(s *Snapshot) (dns, web string) {
	var names [2][]string
	for i := range s.Mirrors {
		if m := &s.Mirrors[i]; m.InDNS {
			names[0] = append(names[0], m.Name)
		}
		if m := &s.Mirrors[i]; m.InWeb {
			names[1] = append(names[1], m.Name)
		}
	}
	return strings.Join(names[0], " "), strings.Join(names[1], " ")
}

// TestOverridesExplained: an explanation gives the reason that a person gave.
func TestOverridesExplained(t *testing.T) {
	t.Parallel()
	in := world("a 1 192.0.2.1=up/up\nb 1 192.0.2.2=up/up\nc 1 192.0.2.3=down/down").input(t)
	in.Overrides = in.Overrides.With(override(t, "drain b http")).With(override(t, "force-up c http"))
	e := Build(in).Explain(&Request{})
	for _, x := range e.Mirrors {
		want := map[string]string{
			"b": "drained from 2027-01-15 07:00:00 until 2027-01-15 09:00:00 UTC by ann: disk swap",
			"c": "forced up from 2027-01-15 07:00:00 until 2027-01-15 09:00:00 UTC by ann: disk swap",
		}[x.Name]
		if !strings.Contains(x.Why, want) || (x.Order > 0) == (x.Name == "b") {
			t.Errorf("%s: order %d, %q, want %q", x.Name, x.Order, x.Why, want)
		}
	}
}

func TestOverrideList(t *testing.T) {
	t.Parallel()
	var list Overrides
	for _, text := range []string{"drain b http", "drain a dns", "drain b dns", "force-up a dns"} {
		list = list.With(override(t, text))
	}
	if o := list.Of("http://a.example.org/", health.DNS); len(list) != 3 || o == nil || o.Kind != ForceUp {
		t.Errorf("%v, want three, the later of two in place of the earlier", list)
	}
	if o := list.Of("http://a.example.org/", health.HTTP); o != nil {
		t.Errorf("another role: %v", o)
	}
	if got := list.Without("http://b.example.org/", health.DNS); len(got) != 2 || got.Of("http://b.example.org/", health.DNS) != nil || len(list) != 3 {
		t.Errorf("without one: %v of %v", got, list)
	}
	first := list.Of("http://b.example.org/", health.HTTP)
	again := list.With(Override{Mirror: first.Mirror, Role: health.HTTP, Kind: ForceUp})
	if first.Kind != Drain || again.Of(first.Mirror, health.HTTP).Kind != ForceUp {
		t.Errorf("%v and %v: With has changed the list that it was made of", list, again)
	}
	if insisted := list.Anyway(); list[0].Anyway || !insisted[0].Anyway || !insisted[2].Anyway {
		t.Errorf("%v and %v: Anyway has changed the list that it was made of, or not all", list, insisted)
	}
	list[1].Until = worldTime.Add(time.Minute)
	if next := list.NextEnd(); !next.Equal(worldTime.Add(time.Minute)) {
		t.Errorf("the next end is %v", next)
	}
	if next := (Overrides{}).NextEnd(); !next.IsZero() {
		t.Errorf("no override ends at %v", next)
	}
	if going, ended := list.Split(worldTime.Add(time.Minute)); len(going) != 2 || !slices.Equal(ended, list[1:2]) {
		t.Errorf("at the end of one: %v go on, %v have ended", going, ended)
	}
	if going, _ := list.Split(worldTime.Add(time.Minute - time.Nanosecond)); len(going) != 3 {
		t.Errorf("just before: %v", going)
	}
}

// TestWorks: a mirror works that is fit to serve in some role, or cannot be judged.
func TestWorks(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"a 1 192.0.2.1=up/up":                         true,
		"a 1 192.0.2.1=down/up":                       true,
		"a 1 192.0.2.1=unknown/unknown":               true,
		"a 1 192.0.2.1=down/suspected":                true, // the fault may be this host's
		"a 1 192.0.2.1=stale/stale":                   false,
		"a 1 192.0.2.1=down/down":                     false,
		"a 1 192.0.2.1=down/down 2001:db8::1=down/up": true,
		"a 1 rsync=up 192.0.2.1=down/down":            false,
		"a 1":                                         true, // no address is known
	} {
		in := world(text).input(t)
		if got := Build(in).Mirrors[0].Works(); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
	in := world("a 1 192.0.2.1=up/up\nb 1 192.0.2.2=down/down").input(t)
	in.Overrides = in.Overrides.With(override(t, "drain a http")).With(override(t, "force-up b dns"))
	s := Build(in)
	if !s.Mirrors[0].Works() || !s.Mirrors[1].Works() {
		t.Error("drained in one role, or forced up in one, a mirror does not work")
	}
	in.Overrides = in.Overrides.With(override(t, "drain a dns"))
	if Build(in).Mirrors[0].Works() {
		t.Error("drained in both roles, a mirror works")
	}
}

func TestOverrideKinds(t *testing.T) {
	t.Parallel()
	for kind, want := range map[OverrideKind]string{0: "OverrideKind(0)", Drain: "drain", ForceUp: "force-up", 3: "OverrideKind(3)"} {
		if got := kind.String(); got != want {
			t.Errorf("%d: %q, want %q", uint8(kind), got, want)
		}
		var read OverrideKind
		if err := read.UnmarshalText([]byte(want)); (err == nil) != (kind == Drain || kind == ForceUp) || err == nil && read != kind {
			t.Errorf("%q: read as %v, %v", want, read, err)
		}
	}
	var read OverrideKind
	if err := read.UnmarshalText(nil); err == nil {
		t.Errorf("an empty text is read as %v", read)
	}
}

// TestUnserved: drains must not leave clients at a place without a mirror.
func TestUnserved(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		serveOnly, exclude config.Places // of b; a serves all
		drains             []string
		want               string
	}{
		"b serves DE alone":        {config.Places{Countries: []string{"DE"}}, config.Places{}, []string{"drain! a http"}, "clients over IPv4"},
		"b serves all but DE":      {config.Places{}, config.Places{Countries: []string{"DE"}}, []string{"drain! a http"}, "clients in DE over IPv4"},
		"b serves all but Europe":  {config.Places{}, config.Places{Continents: []string{"EU"}}, []string{"drain! a http"}, "clients on the continent EU over IPv4"},
		"b serves all but AS680":   {config.Places{}, config.Places{ASNs: []uint32{680}}, []string{"drain! a http"}, "clients in AS680 over IPv4"},
		"the restricted one":       {config.Places{Countries: []string{"DE"}}, config.Places{}, []string{"drain! b http"}, ""},
		"for DNS":                  {config.Places{Countries: []string{"DE"}}, config.Places{}, []string{"drain! a dns"}, ""},
		"without any restrictions": {config.Places{}, config.Places{}, []string{"drain! a http"}, ""},
	} {
		in := world("a 1 192.0.2.1=up/up\nb 1 192.0.2.2=up/up").input(t)
		in.Pool.Mirrors[1].ServeOnly, in.Pool.Mirrors[1].Exclude = test.serveOnly, test.exclude
		before := Build(in)
		for _, text := range test.drains {
			in.Overrides = in.Overrides.With(override(t, text))
		}
		if got, ok := before.Unserved(Build(in)); got != test.want || ok != (test.want != "") {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}
