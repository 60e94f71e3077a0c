package probing

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mirrorpool/cmd/mirrorpool/internal/term"
	"mirrorpool/config"
	"mirrorpool/health"
)

// probeTime is when the report of these tests was made.
var probeTime = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// endpoint makes an endpoint that was checked, with a trace that is so old.
func endpoint(address string, role health.Role, state health.State, reason string, age time.Duration) health.Endpoint {
	e := health.Endpoint{Role: role}
	if address != "" {
		e.Address = netip.MustParseAddr(address)
	}
	e.State, e.Reason, e.Checked = state, reason, probeTime
	e.Timings = health.Timings{Connect: 12340 * time.Microsecond, Total: 1234560 * time.Microsecond}
	if age != 0 {
		e.Trace = probeTime.Add(-age)
		e.Timings.FirstByte = 99 * time.Millisecond
	}
	return e
}

// probeReport is of probePool, with a bit of everything.
func probeReport() *health.Report {
	secure := endpoint("192.0.2.7", health.HTTP, health.Up, "", 5*time.Hour)
	secure.CertExpires = probeTime.Add(8*24*time.Hour + time.Hour)
	secure.Warning = secure.CertWarning(probeTime)
	secure.Timings.TLS = 40 * time.Millisecond
	also := secure
	also.Role = health.DNS
	expired := endpoint("2001:db8::7", health.HTTP, health.Down,
		"tls: certificate is not valid now, but from 2026-08-20 to 2026-11-20", 0)
	expired.CertExpires = probeTime.Add(-50 * time.Hour)
	expired.Warning = expired.CertWarning(probeTime)
	rsync := endpoint("", health.Rsync, health.Down, "resolve: \"rsync.example.net\" has no address", 0)
	return &health.Report{
		At:       probeTime,
		Suspects: []health.Suspect{{Name: "local network"}},
		Reference: health.Reference{
			ReferenceChange: health.ReferenceChange{Trace: probeTime.Add(-5 * time.Hour)},
			Problem:         "reference_url cannot be read: connect: timed out; keeping the last one known",
			Mirrors:         2, Enabled: 3, Weight: 20, EnabledWeight: 25,
		},
		Mirrors: map[string]health.MirrorReport{
			"https://mirror.example.net/tails/": {
				Endpoints: []health.Endpoint{secure, also, expired}, Rsync: &rsync, Resolve: 3 * time.Millisecond,
				Problem: "rsync: resolve: \"rsync.example.net\" has no address",
			},
			"http://mirror.example.net:8080/old/": {Endpoints: []health.Endpoint{
				endpoint("192.0.2.7", health.HTTP, health.Up, "", 7*time.Hour),
				endpoint("192.0.2.7", health.DNS, health.Stale,
					"freshness: 240h0m0s behind the reference, more than max_lag (3h0m0s) after it changed at 2026-11-23T07:00:00Z",
					245*time.Hour),
			}},
			"https://ftp.example.org/pub/tails/": {Problem: `resolve: "ftp.example.org" has no address`},
			"http://192.0.2.9/": {Endpoints: []health.Endpoint{endpoint("192.0.2.9", health.HTTP, health.Up, "",
				5*time.Hour)}},
		},
	}
}

func TestProbeText(t *testing.T) {
	pool := probePool(t)
	plan := &Plan{shown: pool, probed: pool, settings: config.Health{ReferenceURL: "https://origin.example.org/"}}
	result := newResult(plan, probeReport())
	var text bytes.Buffer
	if err := result.WriteText(&text, false); err != nil {
		t.Fatal(err)
	}
	const want = `
  ADDRESS      ROLE   STATE    RESOLVE CONNECT    TLS  FIRST  TOTAL  CERT  TRACE
https://mirror.example.net/tails/  m7  weight 10
  192.0.2.7    http   up           3.0    12.3   40.0   99.0   1235    8d  5h00m
  192.0.2.7    dns    up           3.0    12.3   40.0   99.0   1235    8d  5h00m
  2001:db8::7  http   down         3.0    12.3      -      -   1235 ended      -
      tls: certificate is not valid now, but from 2026-08-20 to 2026-11-20
      see: openssl s_client -showcerts -servername 'mirror.example.net' -connect '[2001:db8::7]:443' </dev/null
  -            rsync  down           -    12.3      -      -   1235     -      -
      resolve: "rsync.example.net" has no address
http://mirror.example.net:8080/old/  weight 10
  192.0.2.7    http   up             -    12.3      -   99.0   1235     -  7h00m
      2h00m behind the reference, which is within max_lag
  192.0.2.7    dns    stale          -    12.3      -   99.0   1235     -    10d
      freshness: 240h0m0s behind the reference, more than max_lag (3h0m0s) after it changed at 2026-11-23T07:00:00Z
https://ftp.example.org/pub/tails/  m8  weight 5
  -            -      unknown        -       -      -      -      -     -      -
      resolve: "ftp.example.org" has no address
http://192.0.2.9/  disabled
  192.0.2.9    http   up             -    12.3      -   99.0   1235     -  5h00m

Times are in ms; FIRST: until the first byte; CERT: what the certificate has left; TRACE: how old it is.
Reference: 2026-11-23T07:00:00Z, 5h00m old, from reference_url.
Carried by 2 of 3 enabled mirrors, 20 of 25 by weight (80 %).
Warning: reference_url cannot be read: connect: timed out; keeping the last one known
Warning: https://mirror.example.net/tails/: rsync: resolve: "rsync.example.net" has no address
Warning: https://mirror.example.net/tails/: 192.0.2.7: certificate expires on 2026-12-01, in 8 days
Suspect: local network
Up in all their roles: 0 of 3 enabled mirrors.
`
	if diff := cmp.Diff(want[1:], text.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	var painted bytes.Buffer
	if err := result.WriteText(&painted, true); err != nil {
		t.Fatal(err)
	}
	plain := strings.NewReplacer("\x1b[31m", "", "\x1b[33m", "", "\x1b[0m", "").Replace(painted.String())
	if plain != text.String() || strings.Count(painted.String(), "\x1b[31m  2001:db8::7") != 1 ||
		strings.Contains(painted.String(), "m  192.0.2.9") {
		t.Errorf("in colour:\n%q", painted.String())
	}
}

// TestProbeJSON compares a mirror of the document, with all keys, and a mirror without addresses.
func TestProbeJSON(t *testing.T) {
	pool := probePool(t)
	pool.Mirrors = []config.Mirror{pool.Mirrors[1], pool.Mirrors[2]}
	report := probeReport()
	report.Reference, report.Suspects = health.Reference{ReferenceChange: report.Reference.ReferenceChange, Mirrors: 1, Enabled: 2, Weight: 10,
		EnabledWeight: 15}, nil
	m := report.Mirrors["http://mirror.example.net:8080/old/"]
	m.Endpoints = m.Endpoints[:1]
	report.Mirrors["http://mirror.example.net:8080/old/"] = m
	var got bytes.Buffer
	if err := term.WriteJSON(&got, newResult(&Plan{shown: pool, probed: pool}, report)); err != nil {
		t.Fatal(err)
	}
	const want = `{
	"at": "2026-11-23T12:00:00Z", "ok": false, "enabled_mirrors": 2, "up_mirrors": 1,
	"reference": {"trace": "2026-11-23T07:00:00Z", "source": "mirrors", "problem": "",
		"mirrors": 1, "enabled_mirrors": 2, "weight": 10, "enabled_weight": 15},
	"suspect": "", "warnings": [],
	"mirrors": [
		{"url_prefix": "http://mirror.example.net:8080/old/", "name": "", "weight": 10, "up": true, "problem": "", "endpoints": [
			{"address": "192.0.2.7", "role": "http", "state": "up", "reason": "", "warning": "", "shown_by": "",
			"resolve_ms": 0, "connect_ms": 12.34, "tls_ms": 0, "first_byte_ms": 99, "total_ms": 1234.56,
			"cert_expires": null, "cert_days": null, "trace": "2026-11-23T05:00:00Z", "trace_age_seconds": 25200, "lag_seconds": 7200}]},
		{"url_prefix": "https://ftp.example.org/pub/tails/", "name": "m8", "weight": 5, "up": false,
			"problem": "resolve: \"ftp.example.org\" has no address", "endpoints": []}
	]}`
	var wantDocument, gotDocument any
	if err := json.Unmarshal([]byte(want), &wantDocument); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(got.Bytes(), &gotDocument); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wantDocument, gotDocument); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestProbeIsUp(t *testing.T) {
	enabled := config.Mirror{Weight: 1, DNS: config.MirrorDNS{Weight: 1}}
	outOfDNS := config.Mirror{Weight: 1}
	disabled := config.Mirror{}
	const v4, v6 = "192.0.2.1", "2001:db8::1"
	at := func(address string, role health.Role, state health.State) health.Endpoint {
		return endpoint(address, role, state, "", 0)
	}
	rsync := func(state health.State) *health.Endpoint { e := at(v4, health.Rsync, state); return &e }
	for _, test := range []struct {
		name      string
		mirror    config.Mirror
		endpoints []health.Endpoint
		rsync     *health.Endpoint
		want      bool
	}{
		{name: "no address", mirror: enabled},
		{name: "only rsync", mirror: enabled, rsync: rsync(health.Up)},
		{name: "up", mirror: enabled, endpoints: []health.Endpoint{at(v4, health.HTTP, health.Up), at(v4, health.DNS, health.Up)},
			rsync: rsync(health.Up), want: true},
		{name: "down in DNS", mirror: enabled, endpoints: []health.Endpoint{at(v4, health.HTTP, health.Up),
			at(v4, health.DNS, health.Down)}},
		{name: "not in DNS", mirror: outOfDNS, endpoints: []health.Endpoint{at(v4, health.HTTP, health.Up),
			at(v4, health.DNS, health.Down)}, want: true},
		{name: "disabled, down in DNS", mirror: disabled, endpoints: []health.Endpoint{at(v4, health.HTTP, health.Up),
			at(v4, health.DNS, health.Down)}},
		{name: "rsync down", mirror: enabled, endpoints: []health.Endpoint{at(v4, health.HTTP, health.Up)}, rsync: rsync(health.Down)},
		{name: "rsync unknown", mirror: enabled, endpoints: []health.Endpoint{at(v4, health.HTTP, health.Up)},
			rsync: rsync(health.Unknown), want: true},
		{name: "stale at one of two", mirror: enabled, endpoints: []health.Endpoint{at(v4, health.HTTP, health.Up),
			at(v6, health.HTTP, health.Stale)}},
		{name: "no route to one of two", mirror: enabled, endpoints: []health.Endpoint{at(v4, health.HTTP, health.Up),
			at(v6, health.HTTP, health.Unknown)}, want: true},
		{name: "no route to both", mirror: enabled, endpoints: []health.Endpoint{at(v4, health.HTTP, health.Unknown),
			at(v6, health.HTTP, health.Unknown)}},
	} {
		if got := isUp(&test.mirror, &health.MirrorReport{Endpoints: test.endpoints, Rsync: test.rsync}); got != test.want {
			t.Errorf("%s: up is %v", test.name, got)
		}
	}
}

func TestProbeShortTexts(t *testing.T) {
	for days, want := range map[int]string{8: "8d", 0: "0d", -1: "ended"} {
		if got := shortDays(&days); got != want {
			t.Errorf("%d days: %q, want %q", days, got, want)
		}
	}
	for _, test := range []struct {
		reference Reference
		want      string
	}{
		{Reference{Source: FromURL}, "Reference: not known, so content is not judged."},
		{Reference{Source: FromMirrors},
			"Reference: not known, so content is not judged: it takes mirrors with more than half of the weight."},
		{Reference{Source: FromMirrors, Trace: &probeTime},
			"Reference: 2026-11-23T12:00:00Z, 0s old, carried or passed by most of the weight."},
	} {
		if got := test.reference.summary(probeTime); got != test.want {
			t.Errorf("%s\nwant\n%s", got, test.want)
		}
	}
	of := Reference{Enabled: 1, EnabledWeight: 3}
	if got, want := of.carriers(), "Carried by 0 of 1 enabled mirror, 0 of 3 by weight (0 %)."; got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

func TestProbeProgress(t *testing.T) {
	report := probeReport() // of 7 checked endpoints, and a mirror that is known to have none
	unresolved := health.MirrorReport{}
	report.Mirrors["https://unresolved.example.org/"] = unresolved
	waiting := health.MirrorReport{Endpoints: []health.Endpoint{{}, {}}}
	report.Mirrors["https://waiting.example.org/"] = waiting
	if done, total := sweepProgress(report); done != 8 || total != 11 {
		t.Errorf("%d of %d", done, total)
	}
}
