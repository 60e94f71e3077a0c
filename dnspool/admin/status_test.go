package admin

import (
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/health"
)

func TestDescribe(t *testing.T) {
	t.Parallel()
	since := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	u, _ := url.Parse("http://m1.example.org/")
	pool := &config.Pool{Mirrors: []config.Mirror{
		{URLPrefix: u.String(), URL: u, Weight: 10, Name: "m1", DNS: config.MirrorDNS{Weight: 5}},
		{URLPrefix: "http://m2.example.org/", URL: u},
	}}
	report := &health.Report{Mirrors: map[string]health.MirrorReport{
		u.String(): {Endpoints: []health.Endpoint{
			{Address: netip.MustParseAddr("192.0.2.1"), Role: health.HTTP, Verdict: health.Verdict{
				State: health.Up, Since: since, Checked: since.Add(time.Minute), Latency: 1500 * time.Microsecond}},
			{Address: netip.MustParseAddr("192.0.2.1"), Role: health.DNS, Verdict: health.Verdict{
				State: health.Down, Reason: "status: 404 Not Found, want 200", Since: since, Checked: since}},
		}, Rsync: &health.Endpoint{Role: health.Rsync, Verdict: health.Verdict{State: health.Up}}},
		"http://m2.example.org/": {Problem: `resolve: "m2.example.org" has no address`},
	}}
	snapshot := dnspool.Build(dnspool.Input{Pool: pool, Health: report, Policy: dnspool.Policy{MaxAnswers: 2},
		Rand: rand.New(rand.NewPCG(1, 2))})
	report.Suspects = []health.Suspect{{Name: "local network", Text: "most mirrors began to fail together"}}
	report.Reference.Trace, report.Reference.Mirrors, report.Reference.Enabled = since, 1, 2
	got, err := json.MarshalIndent(Describe(snapshot, report), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	var status map[string]any
	if err := json.Unmarshal(got, &status); err != nil {
		t.Fatal(err)
	}
	var fields []map[string]any
	for _, m := range status["mirrors"].([]any) {
		fields = append(fields, m.(map[string]any))
	}
	group := status["groups"].([]any)[0].(map[string]any)
	rsync := fields[0]["endpoints"].([]any)[2].(map[string]any)
	// The keys and forms that the contract names.
	first := fields[0]
	endpoint := first["endpoints"].([]any)[0].(map[string]any)
	for _, check := range []struct {
		what      string
		got, want any
	}{
		{"suspect", status["suspect"], "local network"},
		{"reference", status["reference"].(map[string]any)["trace"], "2026-11-22T10:00:00Z"},
		{"group", group["role"].(string) + " " + group["family"].(string), "dns ipv4"},
		{"group's panic", group["panic"], true},
		{"rsync", rsync["role"].(string) + " " + rsync["state"].(string), "rsync up"},
		{"url_prefix", first["url_prefix"], "http://m1.example.org/"},
		{"name", first["name"], "m1"},
		{"weight", first["weight"], 10.0},
		{"state", first["state"], "up"},
		{"reason", first["reason"], "dns at 192.0.2.1: status: 404 Not Found, want 200"},
		{"since", first["since"], "2026-11-22T10:00:00Z"},
		{"eligible", first["eligible"], []any{"dns", "http"}}, // dns by panic: it is the only mirror
		{"address", endpoint["address"], "192.0.2.1"},
		{"role", endpoint["role"], "http"},
		{"endpoint state", endpoint["state"], "up"},
		{"endpoint reason", endpoint["reason"], ""},
		{"endpoint since", endpoint["since"], "2026-11-22T10:00:00Z"},
		{"checked", endpoint["checked"], "2026-11-22T10:01:00Z"},
		{"latency_ms", endpoint["latency_ms"], 1.5},
		{"second state", fields[1]["state"], "unknown"},
		{"second reason", fields[1]["reason"], `resolve: "m2.example.org" has no address`},
		{"second endpoints", fields[1]["endpoints"], []any{}},
		{"second eligible", fields[1]["eligible"], []any{}},
	} {
		if diff := cmp.Diff(check.want, check.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", check.what, diff)
		}
	}
}
