package admin

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"mirrorpool/health"
	"mirrorpool/health/watch"
)

func TestWatchers(t *testing.T) {
	t.Parallel()
	now := time.Unix(1e9, 0)
	ams := watch.Member{Name: "ams", Address: "192.0.2.1:7946", Alive: true, Since: now.Add(-time.Hour), Heard: now, Counts: true}
	nyc, tor := ams, ams
	nyc.Name, tor.Name, tor.Roles = "nyc", "tor", []health.Role{health.HTTP}
	gone, silent, suspicious := nyc, nyc, nyc
	other := nyc
	other.OtherQuorum = 0.7
	gone.Alive, gone.Counts, silent.Counts, suspicious.Suspects = false, false, false, "resolver"
	stopped := gone
	stopped.Stopped = true
	for _, test := range []struct {
		group    watch.Status
		text     string
		problems []string
	}{
		{watch.Status{Name: "fra", Joint: true, Members: []watch.Member{ams, nyc, tor}}, "fra, with ams, nyc and tor", nil},
		{watch.Status{Name: "fra", Joint: true, Members: []watch.Member{ams, nyc}}, "fra, with ams and nyc", nil},
		{watch.Status{Name: "fra", Members: []watch.Member{ams, gone}}, "fra, by itself; with ams it takes one more to decide together",
			[]string{"The watcher nyc (192.0.2.1:7946) has been lost for 1h00m. If it is gone for good, take it out of watch.join and " +
				"restart this server.",
				"Fewer than two other watchers are heard of: this server goes by its own checks."}},
		{watch.Status{Name: "fra", Joint: true, Members: []watch.Member{ams, stopped, tor}}, "fra, with ams and tor",
			[]string{"The watcher nyc (192.0.2.1:7946) was stopped 1h00m ago."}},
		{watch.Status{Name: "fra", Joint: true, Members: []watch.Member{ams, other}}, "fra, with ams and nyc",
			[]string{"The watcher nyc has a watch.quorum of 0.7, and this server another one: set it to the same for all, or they decide " +
				"otherwise."}},
		{watch.Status{Name: "fra", Problem: "cannot reach ams.example.org:7946"}, "fra, by itself",
			[]string{"Watchers: cannot reach ams.example.org:7946.",
				"Fewer than two other watchers are heard of: this server goes by its own checks."}},
		{watch.Status{Name: "fra", Joint: true, Members: []watch.Member{ams, suspicious, tor}}, "fra, with ams, nyc and tor",
			[]string{"The watcher nyc suspects its own host (resolver): what it sees does not count there."}},
		{watch.Status{Name: "fra", Joint: true, Members: []watch.Member{ams, silent, tor}}, "fra, with ams and tor",
			[]string{"The watcher nyc says nothing: what it saw does not count."}},
	} {
		s := DescribeWatchers(test.group)
		if got := s.Problems(now); s.Text() != test.text || !slices.Equal(got, test.problems) {
			t.Errorf("%+v:\n%q, %q, want\n%q, %q", test.group, s.Text(), got, test.text, test.problems)
		}
	}
}

func TestWatcherMetrics(t *testing.T) {
	t.Parallel()
	group := DescribeWatchers(watch.Status{Name: "fra", Joint: true, Members: []watch.Member{
		{Name: "ams", Counts: true}, {Name: "nyc", Suspects: "resolver"}, {Name: "sin", Stopped: true}}})
	views := func(states ...health.State) (list []health.View) {
		for _, s := range states {
			list = append(list, health.View{Watcher: "x", State: s})
		}
		return list
	}
	s := Status{Watch: &group, Mirrors: []MirrorStatus{{URLPrefix: "https://m/", Endpoints: []EndpointStatus{
		{Views: views(health.Up, health.Down)}, {Views: views(health.Up, health.Unknown)}, {Views: views(health.Stale, health.Up)},
		{Views: views(health.Stale, health.Down)}, {},
	}}}}
	var text bytes.Buffer
	writeStatusMetrics(&text, &s)
	for _, want := range []string{
		"mirrorpool_watch_joint 1\n", `mirrorpool_watcher_up{watcher="ams"} 1`, `mirrorpool_watcher_up{watcher="nyc"} 0`,
		`mirrorpool_watcher_suspects_itself{watcher="nyc"} 1`, `mirrorpool_mirror_disputed_endpoints{mirror="https://m/"} 2`,
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %s in\n%s", want, &text)
		}
	}
	if strings.Contains(text.String(), `"sin"`) {
		t.Errorf("a watcher that was stopped counts as lost:\n%s", &text)
	}
	s.Watch = nil
	text.Reset()
	writeStatusMetrics(&text, &s)
	if strings.Contains(text.String(), "watch") || strings.Contains(text.String(), "disputed") {
		t.Errorf("metrics of watchers without any:\n%s", &text)
	}
}

// TestNoGroup: a server without a group says so, to those who ask what a watcher sees.
func TestNoGroup(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	newMux(testBackend(1)).ServeHTTP(w, httptest.NewRequest("GET", "/api/v1/watch?from=ams", nil))
	if w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "in no group of watchers") {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
}

// TestDisputedNote: an endpoint that serves although some watchers do not reach it says so.
func TestDisputedNote(t *testing.T) {
	t.Parallel()
	e := EndpointStatus{State: health.Up, Views: []health.View{
		{Watcher: "ams", State: health.Up}, {Watcher: "nyc", State: health.Down, Reason: "HTTP status 500"},
	}}
	if got := e.Note(); got != "down from nyc; up from ams: HTTP status 500" {
		t.Errorf("note %q", got)
	}
	e.Views[1].State = health.Unknown
	if got := e.Note(); got != "" {
		t.Errorf("note %q of one on which all agree", got)
	}
}
