package ledger

import (
	"bytes"
	"fmt"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"mirrorpool/health"
)

var epoch = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

const (
	testMirror = "https://a.example.net/"
	testSettle = 3 * time.Minute
)

// play notes problems of one mirror, a minute apart: a letter for each minute, d for down, s for stale, b for both, ?
// for a failure that may be this host's fault, p for drained, x for disabled, and . for none. It returns the ledger,
// and the time of the last minute.
func play(minutes string) (l *Ledger, now time.Time) {
	l = New()
	for k, letter := range minutes {
		now = epoch.Add(time.Duration(k) * time.Minute)
		problems := map[string][]Problem{testMirror: nil}
		add := func(kind Kind, noticed string, doubted bool) {
			problems[testMirror] = append(problems[testMirror], Problem{
				Kind: kind, Where: "http 192.0.2.1", Reason: fmt.Sprintf("%s at minute %d", kind, k), Noticed: noticed, Doubted: doubted,
			})
		}
		switch letter {
		case 'd':
			add(Down, "check", false)
		case 's':
			add(Stale, "check", false)
		case 'b':
			add(Down, "check", false)
			add(Stale, "check", false)
		case '?':
			add(Down, "check", true)
		case 'p':
			add(Drained, "ann", false)
		case 'x':
			delete(problems, testMirror)
		}
		l.Note(problems, now, testSettle)
	}
	return l, now
}

// TestIncidents writes an incident as "KIND FROM-UNTIL", in minutes, * for how often it began if that is not once.
func TestIncidents(t *testing.T) {
	t.Parallel()
	calmly := strings.Repeat(".", 16)
	for minutes, want := range map[string]string{
		"...":                                   "",
		".d":                                    "down 1-",
		".ddd" + calmly:                         "down 1-4",
		".ddd.":                                 "down 1-",
		".dd..dd" + calmly:                      "down 1-7 *2",
		"." + strings.Repeat("d.", 30) + calmly: "down 1-60 *30",
		".dd" + calmly + "d":                    "down 1-3|down 19-",
		".dss" + calmly:                         "down 1-2|stale 2-4",
		".bb" + calmly:                          "down 1-3|stale 1-3",
		".???":                                  "",
		".d?":                                   "", ".d?d": "", // the doubt goes on for a while ".ddd?": "down 1-", ".ddd??" + calmly: "down 1-6",
		".pp.":                          "drained 1-3",
		".pp.pp":                        "drained 1-3|drained 4-",
		".ddx":                          "down 1-3",
		".dd..x":                        "down 1-3",
		".ddxx.d":                       "down 1-3|down 6-",
		".dd" + strings.Repeat(".", 15): "down 1-",
	} {
		l, now := play(minutes)
		s, ok := l.Summary(testMirror, time.Time{}, now)
		var got []string
		for _, i := range s.Incidents {
			text := fmt.Sprintf("%s %.0f-", i.Kind, i.Since.Sub(epoch).Minutes())
			if !i.Open() {
				text += fmt.Sprintf("%.0f", i.Until.Sub(epoch).Minutes())
			}
			if i.Times != 1 {
				text += fmt.Sprintf(" *%d", i.Times)
			}
			got = append(got, text)
			if i.Reason != fmt.Sprintf("%s at minute %.0f", i.Kind, i.Since.Sub(epoch).Minutes()) || len(i.Where) != 1 {
				t.Errorf("%s: %+v, want the first reason", minutes, i)
			}
		}
		if strings.Join(got, "|") != want || !ok {
			t.Errorf("%s: %q, want %q", minutes, strings.Join(got, "|"), want)
		}
	}
}

// TestReasonsAreText: what a mirror sends is cut to a length, and to UTF-8, so that the saved ledger can be read.
func TestReasonsAreText(t *testing.T) {
	t.Parallel()
	l := New()
	l.Note(map[string][]Problem{testMirror: {{Kind: Down, Noticed: "check", Reason: strings.Repeat("\xff", 3000)}}}, epoch, testSettle)
	path := filepath.Join(t.TempDir(), "ledger")
	l.Save(path, zap.NewNop())
	restored := New()
	if restored.Load(path, epoch, zap.NewNop()); len(restored.mirrors) != 1 {
		t.Error("the saved ledger cannot be read")
	}
}

// TestFirstSign: an incident begins when its first sign did, and names some of the places.
func TestFirstSign(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ since, want time.Time }{
		"not given":     {time.Time{}, epoch},
		"before":        {epoch.Add(-time.Hour), epoch.Add(-time.Hour)},
		"in the future": {epoch.Add(time.Hour), epoch},
	} {
		l := New()
		var problems []Problem
		for k := range maxWhere + 3 {
			problems = append(problems, Problem{Kind: Down, Where: fmt.Sprintf("http 192.0.2.%d", k), Noticed: "check", Since: test.since},
				Problem{Kind: Down, Where: "http 192.0.2.0", Noticed: "check", Since: test.since}, Problem{Kind: Down, Noticed: "check"})
		}
		l.Note(map[string][]Problem{testMirror: problems}, epoch, testSettle)
		s, _ := l.Summary(testMirror, time.Time{}, epoch)
		if in := s.Incidents[0]; !in.Since.Equal(test.want) || len(in.Where) != maxWhere || in.Where[1] != "http 192.0.2.1" {
			t.Errorf("%s: %+v", name, in)
		}
	}
}

// TestLength: while an incident may be over, it has lasted until that seemed so.
func TestLength(t *testing.T) {
	t.Parallel()
	now := epoch.Add(time.Hour)
	for _, test := range []struct {
		Incident
		want time.Duration
	}{
		{Incident{Since: epoch}, time.Hour},
		{Incident{Since: epoch, Fit: epoch.Add(50 * time.Minute)}, 50 * time.Minute},
		{Incident{Since: epoch, Until: epoch.Add(20 * time.Minute)}, 20 * time.Minute},
	} {
		if got := test.Length(now); got != test.want {
			t.Errorf("%+v: %v, want %v", test.Incident, got, test.want)
		}
	}
}

func TestUptime(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	now := epoch.Add(100 * day)
	down := func(from, until float64) Incident {
		i := Incident{Kind: Down, Since: epoch.Add(time.Duration(from * float64(day))), Times: 1}
		if until > 0 {
			i.Until = epoch.Add(time.Duration(until * float64(day)))
		}
		return i
	}
	stale, drained := down(90, 95), down(70, 100)
	stale.Kind, drained.Kind = Stale, Drained
	for name, test := range map[string]struct {
		first            float64 // day
		incidents        []Incident
		in30, in180      float64
		failures, longer int // longer: days
	}{
		"none":                     {0, nil, 1, 1, 0, 0},
		"one of a day":             {0, []Incident{down(80, 81)}, 29.0 / 30, 0.99, 1, 1},
		"long ago":                 {0, []Incident{down(10, 20)}, 1, 0.9, 1, 10},
		"it goes on":               {0, []Incident{down(97, 0)}, 27.0 / 30, 0.97, 1, 3},
		"begun before the 30 days": {0, []Incident{down(60, 85)}, 0.5, 0.75, 1, 25},
		"two that overlap":         {0, []Incident{down(94, 96), stale}, 24.0 / 30, 0.94, 1, 6},
		"known for ten days":       {90, []Incident{down(95, 96)}, 0.9, 0.9, 1, 1},
		"drains do not count":      {0, []Incident{drained}, 1, 1, 0, 0},
	} {
		l := New()
		l.mirrors[testMirror] = &record{First: epoch.Add(time.Duration(test.first) * day), Last: now, Incidents: test.incidents}
		s, _ := l.Summary(testMirror, now.Add(-Keep), now)
		if math.Abs(s.Uptime30-test.in30) > 1e-9 || math.Abs(s.Uptime180-test.in180) > 1e-9 ||
			s.Failures != test.failures || s.Longest != float64(test.longer)*day.Seconds() {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// TestForget: a ledger goes back for half a year, and is bounded.
func TestForget(t *testing.T) {
	t.Parallel()
	l := New()
	const step = calm + time.Minute
	now := epoch
	for k := range 2 * (maxIncidents + 10) {
		now = now.Add(step)
		problems := map[string][]Problem{testMirror: nil}
		if k%2 == 0 {
			problems[testMirror] = []Problem{{Kind: Down, Reason: strings.Repeat("x", 5000), Noticed: "check"}}
		}
		l.Note(problems, now, testSettle)
	}
	s, _ := l.Summary(testMirror, time.Time{}, now)
	if len(s.Incidents) != maxIncidents || len(s.Incidents[0].Reason) > maxText+3 {
		t.Errorf("%d incidents, with a reason of %d bytes", len(s.Incidents), len(s.Incidents[0].Reason))
	}
	days := func(n int, problems map[string][]Problem) { // the clock goes on steadily
		for range n {
			now = now.Add(24 * time.Hour)
			l.Note(problems, now, testSettle)
		}
	}
	days(182, map[string][]Problem{testMirror: nil})
	if s, _ := l.Summary(testMirror, time.Time{}, now); len(s.Incidents) > 0 {
		t.Errorf("after half a year %d incidents are left", len(s.Incidents))
	}
	days(182, nil)
	if _, ok := l.Summary(testMirror, time.Time{}, now); ok {
		t.Error("half a year after it has gone, the mirror is still known")
	}
	crowd := map[string][]Problem{testMirror: nil}
	for k := range 10_000 {
		crowd[fmt.Sprintf("https://c%d.example.net/", k)] = nil
	}
	full := New()
	full.mirrors[testMirror] = &record{Incidents: make([]Incident, maxIncidents)}
	for k := range maxIncidents {
		full.mirrors[testMirror].Incidents[k] = Incident{Kind: Down, Since: now, Until: now.Add(time.Duration(k)), Times: 1}
	}
	full.Note(crowd, now, testSettle)
	if s, _ := full.Summary(testMirror, time.Time{}, now); len(s.Incidents) != maxTotal/10_001 || !s.Incidents[0].Until.Equal(now.Add(maxIncidents-maxTotal/10_001)) {
		t.Errorf("beside 10,000 mirrors, %d incidents are left, the first of %v", len(s.Incidents), s.Incidents[0].Until)
	}
	many := map[string][]Problem{}
	for k := range maxMirrors + 5 {
		many[fmt.Sprintf("https://m%d.example.net/", k)] = nil
	}
	if l.Note(many, now, testSettle); len(l.mirrors) != maxMirrors {
		t.Errorf("%d mirrors", len(l.mirrors))
	}
}

// TestProblems reads a report.
func TestProblems(t *testing.T) {
	t.Parallel()
	endpoint := func(state health.State, change func(*health.Endpoint)) health.Endpoint {
		e := health.Endpoint{Address: netip.MustParseAddr("192.0.2.1"), Role: health.HTTP}
		e.State, e.Reason, e.Since = state, "why", epoch
		if change != nil {
			change(&e)
		}
		return e
	}
	for name, test := range map[string]struct {
		endpoint health.Endpoint
		want     string
	}{
		"up":          {endpoint(health.Up, nil), ""},
		"down":        {endpoint(health.Down, nil), "down http 192.0.2.1: why"},
		"stale":       {endpoint(health.Stale, nil), "stale http 192.0.2.1: why"},
		"unknown":     {endpoint(health.Unknown, nil), ""},
		"suspected":   {endpoint(health.Down, func(e *health.Endpoint) { e.Suspect = "clock" }), "down http 192.0.2.1: why, doubted"},
		"was down":    {endpoint(health.Unknown, func(e *health.Endpoint) { e.From = health.Down }), "down http 192.0.2.1: why, doubted"},
		"aside":       {endpoint(health.Down, func(e *health.Endpoint) { e.ExcludedBecause = "new in DNS" }), ""},
		"certificate": {endpoint(health.Up, func(e *health.Endpoint) { e.CertExpires = epoch.Add(50 * time.Hour) }), "certificate http 192.0.2.1: certificate expires on 2026-03-03, in 2 days"},
		"unsteady": {endpoint(health.Up, func(e *health.Endpoint) { e.Failed = 0b10101 }),
			"unsteady http 192.0.2.1: fails now and then: 3 of the latest 20 checks; its weight counts for 12 %"},
	} {
		var got []string
		for _, p := range Problems(&health.MirrorReport{Endpoints: []health.Endpoint{test.endpoint}}, epoch) {
			text := fmt.Sprintf("%s %s: %s", p.Kind, p.Where, p.Reason)
			if p.Doubted {
				text += ", doubted"
			}
			got = append(got, text)
		}
		if strings.Join(got, "|") != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
	rsync := endpoint(health.Down, func(e *health.Endpoint) { e.Role, e.Address = health.Rsync, netip.Addr{} })
	got := Problems(&health.MirrorReport{Rsync: &rsync, Lacks: "lacks 1 of 2 files"}, epoch)
	if len(got) != 2 || got[0].Where != "rsync" || got[1].Kind != Lacks || got[1].Noticed != "listing" {
		t.Errorf("%+v", got)
	}
}

func TestSaveAndLoad(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger")
	l, now := play(".dd" + strings.Repeat(".", 16) + "s")
	l.Save(path, zap.NewNop())
	restored := New()
	restored.Load(path, now, zap.NewNop())
	if diff := cmp.Diff(l.Summaries(time.Time{}, now), restored.Summaries(time.Time{}, now)); diff != "" {
		t.Errorf("-saved +restored:\n%s", diff)
	}
	early := New() // by a clock that was set back
	early.Load(path, epoch.Add(-time.Hour), zap.NewNop())
	if s, ok := early.Summary(testMirror, time.Time{}, epoch.Add(-time.Hour)); !ok || s.Longest != 0 || s.Uptime180 != 1 {
		t.Errorf("%+v", s)
	}
	saved, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Replace(saved, []byte("check"), []byte("cheek"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	damaged := New()
	if damaged.Load(path, now, zap.NewNop()); len(damaged.mirrors) != 0 {
		t.Error("a damaged file was used")
	}
}

// FuzzDecode has files of any content.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"https://a.example.net/": {"first": "2026-03-01T00:00:00Z", "last": "2026-03-02T00:00:00Z", "incidents": [
		{"kind": "down", "where": ["http 192.0.2.1"], "reason": "r", "noticed": "check", "since": "2026-03-01T00:00:00Z", "times": 1}]}}`))
	f.Add([]byte(`{"": null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		mirrors, err := decode(body, epoch)
		if err != nil {
			return
		}
		l := &Ledger{mirrors: mirrors}
		l.Note(map[string][]Problem{testMirror: {{Kind: Down}}}, epoch, testSettle)
		for _, s := range l.Summaries(time.Time{}, epoch) {
			if s.Uptime30 < 0 || s.Uptime30 > 1 || s.Uptime180 < 0 || s.Uptime180 > 1 || s.Longest < 0 {
				t.Errorf("%+v", s)
			}
		}
	})
}
