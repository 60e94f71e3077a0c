package dnspool

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"mirrorpool/config"
	"mirrorpool/health"
)

// world is a pool written as text, with one mirror on a line:
//
//	NAME WEIGHT [https] [dns=WEIGHT|dns=off] [rsync=STATE] ADDRESS=DNS-STATE/HTTP-STATE...
//
// STATE may be one of health, behind for a mirror that is up without the reference's content, suspected for one whose
// failure a fault of this host explains, passing for one that is down and passes by now, or down@N for one that is down
// since N minutes ago.
type world string

// worldTime is when worlds are seen, and worldRelease the reference of then.
var (
	worldTime    = time.Unix(1_800_000_000, 0)
	worldRelease = worldTime.Add(-24 * time.Hour)
)

func (w world) input(t testing.TB) Input {
	t.Helper()
	in := Input{
		Pool: &config.Pool{}, Health: &health.Report{Mirrors: map[string]health.MirrorReport{}},
		Policy: Policy{PanicThreshold: 0.5, MaxAnswers: 2},
		Now:    worldTime, Rand: rand.New(rand.NewPCG(1, 2)),
	}
	in.Health.Policy = health.Policy{Interval: 30 * time.Second, Timeout: 10 * time.Second, Rise: 2, Fall: 3}
	in.Health.Reference.Trace = worldRelease
	for line := range strings.Lines(string(w)) {
		if fields := strings.Fields(line); len(fields) > 0 {
			m, r := parseMirror(t, fields)
			in.Pool.Mirrors = append(in.Pool.Mirrors, m)
			in.Health.Mirrors[m.URLPrefix] = r
		}
	}
	return in
}

func parseMirror(t testing.TB, fields []string) (config.Mirror, health.MirrorReport) {
	t.Helper()
	m := config.Mirror{Name: fields[0], Weight: uint32(number(t, fields[1]))}
	m.DNS.Weight = m.Weight
	scheme := "http"
	var report health.MirrorReport
	for _, field := range fields[2:] {
		key, value, _ := strings.Cut(field, "=")
		switch {
		case key == "https":
			scheme = key
		case key == "dns" && value == "off":
			m.DNS.Off = true
		case key == "rsync":
			e := endpoint(t, netip.Addr{}, health.Rsync, value)
			report.Rsync = &e
		case key == "dns":
			m.DNS.Weight = uint32(number(t, value))
		default:
			addr := netip.MustParseAddr(key)
			dns, web, _ := strings.Cut(value, "/")
			report.Endpoints = append(report.Endpoints,
				endpoint(t, addr, health.HTTP, web), endpoint(t, addr, health.DNS, dns))
		}
	}
	m.URLPrefix = scheme + "://" + m.Name + ".example.org/"
	m.URL, _ = url.Parse(m.URLPrefix)
	return m, report
}

func number(t testing.TB, text string) (n int) {
	t.Helper()
	if _, err := fmt.Sscan(text, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// endpoint is one in the state that a world's text says.
func endpoint(t testing.TB, addr netip.Addr, role health.Role, text string) health.Endpoint {
	t.Helper()
	name, minutes, _ := strings.Cut(text, "@")
	e := health.Endpoint{Address: addr, Role: role}
	e.Checked = worldTime
	switch name {
	case "behind":
		name, e.Trace = "up", worldRelease.Add(-time.Hour)
	case "up":
		e.Trace = worldRelease
	case "suspected":
		name, e.Suspect = "down", health.SuspectClock
	case "passing":
		name, e.PassingSince = "down", worldTime
	}
	e.State, e.Since = state(t, name), worldTime
	if minutes != "" {
		e.Since = worldTime.Add(-time.Duration(number(t, minutes)) * time.Minute)
	}
	return e
}

func state(t testing.TB, name string) (s health.State) {
	t.Helper()
	if err := s.UnmarshalText([]byte(name)); err != nil {
		t.Fatal(err)
	}
	return s
}
