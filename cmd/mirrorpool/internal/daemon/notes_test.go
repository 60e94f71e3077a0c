package daemon

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mirrorpool/dnspool"
	"mirrorpool/health/watch"
)

// TestSharedChallenges takes from each server what can be the answer to a challenge, and no more than one needs.
func TestSharedChallenges(t *testing.T) {
	t.Parallel()
	value := strings.Repeat("a", 43)
	label := strings.Repeat("x", 63)
	for name, want := range map[string]bool{
		"_acme-challenge.dl.example.org.":       true,
		"_acme-challenge._tls.a-b.example.org.": true,
		"_acme-challenge." + label + ".org.":    true,
		"_acme-challenge." + label + "x.org.":   false,
		"_acme-challenge..org.":                 false,
		"_acme-challenge.dl..org.":              false,
		"_acme-challenge.":                      false,
		"_acme-challenge.dl.example.org":        false,
		"_acme-challenge.-a.org.":               false,
		"_acme-challenge.DL.org.":               false,
		"_acme-challenge.*.org.":                false,
		"dl.example.org.":                       false,
		"_acme-challenge." + strings.Repeat(label+".", 3) + "abcdefghij.org.": true,
		"_acme-challenge." + strings.Repeat(label+".", 4):                     false,
	} {
		if got := isChallenge(name, value); got != want {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
	}
	for _, bad := range []string{"", value + "a", value[1:], value[1:] + "=", value[1:] + "\n"} {
		if isChallenge("_acme-challenge.dl.example.org.", bad) {
			t.Errorf("the value %q is taken", bad)
		}
	}

	all := sharedTXT{}
	flood := sharedTXT{}
	for i := range 2 * maxSharedNames {
		flood[fmt.Sprintf("_acme-challenge.a%03d.example.org.", i)] = []string{value}
	}
	const honest = "_acme-challenge.www.example.org."
	all.add(flood)
	all.add(sharedTXT{honest: {value, value, strings.Repeat("b", 43), strings.Repeat("c", 43), strings.Repeat("d", 43)}})
	if diff := cmp.Diff([]string{value, strings.Repeat("b", 43), strings.Repeat("c", 43)}, all[honest]); diff != "" || len(all) != maxSharedNames+1 {
		t.Errorf("%d names (-want +got):\n%s", len(all), diff)
	}
}

// TestFitting: what a note has no room for is left out.
func TestFitting(t *testing.T) {
	t.Parallel()
	list := make([]string, 100)
	for i := range list {
		list[i] = strings.Repeat("é", 500)
	}
	some, all := fitting(list)
	if all || len(some) != noteRoom/1003 {
		t.Errorf("%d of them, %v", len(some), all)
	}
	if some, all = fitting(list[:5]); !all || len(some) != 5 {
		t.Errorf("%d of 5, %v", len(some), all)
	}
}

// TestDrainsChangeAtAPace: another server whose drains change all the time makes less than one version of the zone in a
// second. Its latest ones count in the end.
func TestDrainsChangeAtAPace(t *testing.T) {
	t.Parallel()
	start := time.Unix(1e9, 0)
	now := start
	f := &inForce{now: func() time.Time { return now }, elsewhere: map[string]dnspool.Overrides{}}
	drains := dnspool.Overrides{{Mirror: "https://a/", Until: start.Add(24 * time.Hour)}}
	changes := 0
	for i := 0; now.Before(start.Add(time.Hour)); i++ {
		now = now.Add(100 * time.Millisecond)
		f.elsewhereChanged = false
		f.takeDrainsOf(&watch.NoteOf{Watcher: "ams", Alive: true}, drains[:i%2])
		if f.elsewhereChanged {
			changes++
		}
	}
	if changes > 3600 || changes < 1000 {
		t.Errorf("%d changes in an hour", changes)
	}
	now = now.Add(drainWindow)
	f.takeDrainsOf(&watch.NoteOf{Watcher: "nyc", Alive: true}, drains)
	if f.takeDrainsOf(&watch.NoteOf{Watcher: "ams", Alive: true}, drains); len(f.elsewhere["ams"]) != 1 || len(f.drainPaces) != 2 {
		t.Errorf("in the end %v, and %v", f.elsewhere, f.drainPaces)
	}
}

// TestDrainsOfOthers: of another server's drains those count here that go on by this server's clock. What it says again
// changes nothing, also where some have ended here and not yet there; and of a server that is gone all stay.
func TestDrainsOfOthers(t *testing.T) {
	t.Parallel()
	now := time.Unix(1e9, 0)
	f := &inForce{now: func() time.Time { return now }, elsewhere: map[string]dnspool.Overrides{}}
	drain := func(mirror string, until time.Duration) dnspool.Override {
		return dnspool.Override{Mirror: mirror, Until: time.Unix(1e9, 0).Add(until)}
	}
	short, long := drain("https://a/", time.Minute), drain("https://b/", time.Hour)
	for i, step := range []struct {
		at      time.Duration
		alive   bool
		says    dnspool.Overrides
		want    dnspool.Overrides
		changed bool
	}{
		{0, true, dnspool.Overrides{short, long}, dnspool.Overrides{short, long}, true},
		{time.Second, true, dnspool.Overrides{short, long}, dnspool.Overrides{short, long}, false},
		{time.Minute, true, dnspool.Overrides{short, long}, dnspool.Overrides{long}, true}, // its clock is behind
		{time.Minute + time.Second, true, dnspool.Overrides{short, long}, dnspool.Overrides{long}, false},
		{2 * time.Minute, false, nil, dnspool.Overrides{long}, false},
		{time.Hour, true, dnspool.Overrides{short, long}, nil, true},
		{time.Hour, true, dnspool.Overrides{short, long}, nil, false},
	} {
		now, f.elsewhereChanged = time.Unix(1e9, 0).Add(step.at), false
		f.takeDrainsOf(&watch.NoteOf{Watcher: "ams", Alive: step.alive}, step.says)
		if diff := cmp.Diff(step.want, f.elsewhere["ams"]); diff != "" || f.elsewhereChanged != step.changed {
			t.Errorf("step %d: changed %v (-want +got):\n%s", i, f.elsewhereChanged, diff)
		}
	}
}
