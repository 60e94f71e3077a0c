package ledger

import (
	"strings"
	"testing"
	"time"
)

// TestDoubtEnds has an outage of this host that ends for one mirror later than for others, and one that was really
// down.
func TestDoubtEnds(t *testing.T) {
	t.Parallel()
	l := New()
	const quick, slow, dead = "https://quick/", "https://slow/", "https://dead/"
	for minute := range 60 {
		now := epoch.Add(time.Duration(minute) * time.Minute)
		down := func(down bool) []Problem {
			if !down {
				return nil
			}
			return []Problem{{Kind: Down, Where: "http 192.0.2.1", Noticed: "check", Since: epoch.Add(10 * time.Minute),
				Doubted: minute >= 10 && minute < 40}}
		}
		l.Note(map[string][]Problem{quick: down(minute >= 10 && minute < 40), slow: down(minute >= 10 && minute < 44),
			dead: down(minute >= 10)}, now, testSettle)
	}
	for prefix, want := range map[string]int{quick: 0, slow: 0, dead: 1} {
		s, _ := l.Summary(prefix, time.Time{}, epoch.Add(time.Hour))
		if len(s.Incidents) != want || want == 1 && !s.Incidents[0].Since.Equal(epoch.Add(39*time.Minute)) {
			t.Errorf("%s: %+v, want %d, from the end of the doubt on", prefix, s.Incidents, want)
		}
	}
}

// TestOneOutage: a mirror that comes back with old content has failed once, and one that was drained not at all.
func TestOneOutage(t *testing.T) {
	t.Parallel()
	l, now := play("." + strings.Repeat("d", 60) + strings.Repeat("s", 60) + strings.Repeat(".", 20))
	if s, _ := l.Summary(testMirror, time.Time{}, now); s.Failures != 1 || s.Longest != 7200 {
		t.Errorf("%+v", s)
	}
	for name, test := range map[string]struct {
		drained  []string
		where    string
		failures int
		longest  float64 // minutes
	}{
		"both roles":              {[]string{"http", "dns"}, "http 192.0.2.1", 0, 0},
		"the role":                {[]string{"http"}, "http 192.0.2.1", 0, 0},
		"rsync, which http needs": {[]string{"http"}, "rsync 192.0.2.1", 0, 0},
		"another role":            {[]string{"dns"}, "http 192.0.2.1", 1, 140},
		"down for longer":         {[]string{"http", "dns"}, "http 192.0.2.1 late", 1, 20},
	} {
		l := New()
		var now time.Time
		for minute := range 220 {
			now = epoch.Add(time.Duration(minute) * time.Minute)
			var problems []Problem
			if minute >= 10 && minute < 150 {
				for _, role := range test.drained {
					problems = append(problems, Problem{Kind: Drained, Where: role, Noticed: "ann", Since: epoch.Add(10 * time.Minute)})
				}
				problems = append(problems, Problem{Kind: Down, Where: strings.TrimSuffix(test.where, " late"), Noticed: "check"})
			}
			if minute >= 150 && minute < 170 && strings.HasSuffix(test.where, " late") {
				problems = append(problems, Problem{Kind: Down, Where: "http 192.0.2.1", Noticed: "check"})
			}
			l.Note(map[string][]Problem{testMirror: problems}, now, testSettle)
		}
		s, _ := l.Summary(testMirror, time.Time{}, now)
		if s.Failures != test.failures || s.Longest != test.longest*60 {
			t.Errorf("%s: %d failures, the longest of %v min: %+v", name, s.Failures, s.Longest/60, s.Incidents)
		}
	}
}

// TestDrainsOneByOne: a drain in place of another is another incident, and one that has ended while the program did not
// run ended then.
func TestDrainsOneByOne(t *testing.T) {
	t.Parallel()
	l := New()
	drain := func(minute, since, until int, by string) {
		l.Note(map[string][]Problem{testMirror: {{Kind: Drained, Where: "http", Noticed: by, Since: epoch.Add(time.Duration(since) * time.Minute),
			Until: epoch.Add(time.Duration(until) * time.Minute)}}}, epoch.Add(time.Duration(minute)*time.Minute), testSettle)
	}
	drain(1, 1, 60, "ann")
	drain(20, 1, 60, "ann")
	drain(30, 30, 90, "bob")
	l.Note(map[string][]Problem{testMirror: nil}, epoch.Add(5*time.Hour), testSettle)
	s, _ := l.Summary(testMirror, time.Time{}, epoch.Add(5*time.Hour))
	if len(s.Incidents) != 2 || s.Incidents[0].Noticed != "ann" || !s.Incidents[0].Until.Equal(epoch.Add(30*time.Minute)) ||
		s.Incidents[1].Noticed != "bob" || !s.Incidents[1].Until.Equal(epoch.Add(90*time.Minute)) {
		t.Errorf("%+v", s.Incidents)
	}
}

// TestClockLeaps: a clock that is wrong for a moment makes nothing forgotten.
func TestClockLeaps(t *testing.T) {
	t.Parallel()
	l, now := play(".ddd" + strings.Repeat(".", 20))
	l.Note(map[string][]Problem{testMirror: nil}, now.Add(400*24*time.Hour), testSettle)
	l.Note(map[string][]Problem{testMirror: nil}, now.Add(time.Minute), testSettle)
	if s, _ := l.Summary(testMirror, time.Time{}, now.Add(time.Minute)); len(s.Incidents) != 1 {
		t.Errorf("%+v", s.Incidents)
	}
}
