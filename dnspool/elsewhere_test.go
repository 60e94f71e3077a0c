package dnspool

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"mirrorpool/health"
)

// TestDrainsElsewhere joins drains that were set at another server to this one's overrides.
func TestDrainsElsewhere(t *testing.T) {
	t.Parallel()
	const (
		four = "a 1 192.0.2.1=up/up\nb 1 192.0.2.2=up/up\nc 1 192.0.2.3=up/up\nd 1 192.0.2.4=up/up\nz 0 192.0.2.5=up/up\n"
		big  = "a 5 192.0.2.1=up/up\nb 1 192.0.2.2=up/up\nc 1 192.0.2.3=up/up\n"
	)
	for name, test := range map[string]struct {
		pool        string
		own, theirs []string
		limit       float64
		want        string // mirrors with what is in force
		left        int
	}{
		"none":                 {four, nil, nil, 0.5, "", 0},
		"one":                  {four, nil, []string{"drain b dns"}, 0.5, "b drain dns ams", 0},
		"one in both roles":    {four, nil, []string{"drain b dns", "drain b http"}, 0.5, "b drain http ams, b drain dns ams", 0},
		"half":                 {four, nil, []string{"drain b dns", "drain c dns"}, 0.5, "b drain dns ams, c drain dns ams", 0},
		"more than half":       {four, nil, []string{"drain b dns", "drain c dns", "drain a dns"}, 0.5, "b drain dns ams, c drain dns ams", 1},
		"half of each role":    {four, nil, []string{"drain b dns", "drain c dns", "drain a http"}, 0.5, "a drain http ams, b drain dns ams, c drain dns ams", 0},
		"the one with most":    {big, nil, []string{"drain a http", "drain b http"}, 0.5, "b drain http ams", 1},
		"all, without a guard": {big, nil, []string{"drain a http", "drain b http", "drain c http"}, 0, "a drain http ams, b drain http ams, c drain http ams", 0},
		"a disabled one":       {four, nil, []string{"drain z http", "drain b http", "drain c http"}, 0.5, "b drain http ams, c drain http ams, z drain http ams", 0},
		"of no mirror here":    {four, nil, []string{"drain x http"}, 0.5, "", 0},
		"twice the same":       {four, nil, []string{"drain b http", "drain b http"}, 0.25, "b drain http ams", 0},
		"pardons do not count": {four, nil, []string{"force-up b http"}, 0.5, "", 0},
		"our own comes first":  {four, []string{"force-up b http"}, []string{"drain b http", "drain b dns"}, 0.5, "b force-up http , b drain dns ams", 0},
		"by weight in DNS":     {"a 1 dns=9 192.0.2.1=up/up\nb 9 dns=1 192.0.2.2=up/up\n", nil, []string{"drain a dns", "drain b dns", "drain a http"}, 0.5, "a drain http ams, b drain dns ams", 1},
		"without weight":       {four, nil, []string{"drain b http", "drain c http", "drain z http"}, 0.5, "b drain http ams, c drain http ams, z drain http ams", 0},
		"never anyway":         {four, []string{"drain! a http"}, []string{"drain! b http"}, 0.5, "a drain http  anyway, b drain http ams", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var own Overrides
			for _, text := range test.own {
				own = own.With(override(t, text))
			}
			var theirs []Override
			for i, text := range test.theirs {
				o := override(t, text)
				o.Since = o.Since.Add(time.Duration(i) * time.Second)
				theirs = append(theirs, o)
			}
			in := world(test.pool).input(t)
			got, left := own.WithDrainsOf("ams", theirs, in.Pool, test.limit, worldTime)
			var texts []string
			for _, o := range got {
				text := fmt.Sprintf("%s %v %v %s", strings.TrimSuffix(strings.TrimPrefix(o.Mirror, "http://"), ".example.org/"), o.Kind, o.Role, o.Watcher)
				if o.Anyway {
					text += " anyway"
				}
				texts = append(texts, text)
			}
			if got := strings.Join(texts, ", "); got != test.want || left != test.left {
				t.Errorf("%q with %d left out, want %q with %d", got, left, test.want, test.left)
			}
		})
	}
}

// TestDrainsElsewhereAreBounded: another server cannot have a drain go on for years, nor send what cannot be shown.
func TestDrainsElsewhereAreBounded(t *testing.T) {
	t.Parallel()
	in := world("a 1 192.0.2.1=up/up\nb 1 192.0.2.2=up/up\n").input(t)
	o := override(t, "drain a http")
	o.Until, o.Reason, o.By = worldTime.AddDate(10, 0, 0), "\x1b[2Jdisk "+strings.Repeat("é", 300), "ann\n"
	ended := override(t, "drain b http")
	ended.Until = worldTime
	of := override(t, "drain b http")
	of.Role = health.Rsync
	later := override(t, "drain b dns")
	theirs := []Override{later, ended, of, o}
	got, _ := Overrides(nil).WithDrainsOf("ams", theirs, in.Pool, 0.5, worldTime)
	if theirs[0] != later || len(got) != 2 || !got[1].Until.Equal(later.Until) {
		t.Errorf("%+v, of %+v", got, theirs)
	}
	if len(got) != 2 || got[0].Until.Sub(worldTime) != maxDrainTime || got[0].By != `ann\u000a` {
		t.Fatalf("%+v", got)
	}
	if text := got[0].Reason; !strings.HasPrefix(text, `\u001b[2Jdisk é`) || len(text) > maxText+5 || strings.ToValidUTF8(text, "?") != text {
		t.Errorf("reason %q", text)
	}
	if want := `by ann\u000a at ams: `; !strings.Contains(got[0].String(), want) {
		t.Errorf("%v, want %q in it", &got[0], want)
	}
}

// TestNoDrainElsewhere: a drain that has ended, or is in no role that clients ask for, does not count.
func TestNoDrainElsewhere(t *testing.T) {
	t.Parallel()
	in := world("a 1 192.0.2.1=up/up\nb 1 192.0.2.2=up/up\n").input(t)
	ended, other := override(t, "drain a http"), override(t, "drain a http")
	ended.Until, other.Role = worldTime, health.Rsync
	if got, left := (Overrides{}).WithDrainsOf("ams", []Override{ended, other}, in.Pool, 0.5, worldTime); len(got) > 0 || left > 0 {
		t.Errorf("%v, and %d are left out", got, left)
	}
}

// TestDrainsAlone: what is shared is drains, and no pardons.
func TestDrainsAlone(t *testing.T) {
	t.Parallel()
	list := Overrides{}.With(override(t, "drain a dns")).With(override(t, "force-up b dns")).With(override(t, "drain c http"))
	if got := list.Drains(); len(got) != 2 || got[0] != list[0] || got[1] != list[2] {
		t.Errorf("%+v", got)
	}
}
