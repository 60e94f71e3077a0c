package term

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mirrorpool/dnspool/admin"
	"mirrorpool/health"
)

func TestStatusText(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	before := func(d time.Duration) *time.Time { at := now.Add(-d); return &at }
	endpoint := func(addr string, role health.Role, state health.State, reason string) admin.EndpointStatus {
		return admin.EndpointStatus{Address: netip.MustParseAddr(addr), Role: role, State: state, Reason: reason,
			Since: before(3 * time.Hour), Checked: before(12 * time.Second), LatencyMS: 45.678, Trace: before(26 * time.Hour)}
	}
	status := admin.Status{
		Zone: "dl.example.org", Serial: 1795420016, Ready: true,
		Groups: []admin.GroupStatus{{Role: health.DNS, Family: "ipv4", UpWeight: 10, EnabledWeight: 30, Panic: true}},
		Pool:   admin.PoolStatus{Source: "mirrors.json", Loaded: now.Add(-49 * time.Hour), Error: "mirrors.json:1:2: cut"},
		Notify: []admin.FeedStatus{
			{Server: "192.0.2.53:53", Problem: "192.0.2.53:53: NOTIFY of dl.example.org.: no answer in time",
				Since: before(5 * time.Minute)},
			{Server: "192.0.2.54:53", Since: before(time.Hour)},
		},
		Publish:   []admin.FeedStatus{{Problem: "192.0.2.55:53: connection: connection refused", Since: before(3 * time.Hour)}},
		Works:     admin.WorksCount{Partly: 1, NotAtAll: 1},
		Reference: admin.ReferenceStatus{Trace: before(26 * time.Hour), Mirrors: 1, Enabled: 2},
		Mirrors: []admin.MirrorStatus{
			{URLPrefix: "https://mirror.example.net/tails/", Name: "m7", Weight: 10, Email: "ops@example.net", Notes: "1 Gbit/s",
				Eligible: []string{"dns", "http"}, Endpoints: []admin.EndpointStatus{
					endpoint("192.0.2.7", health.HTTP, health.Up, ""),
					endpoint("2001:db8::7", health.HTTP, health.Down, "connect: timed out\x1b[2J"),
				}},
			{URLPrefix: "http://ftp.example.org/", Weight: 20, Reason: `resolve: "ftp.example.org" has no address`},
			{URLPrefix: "http://192.0.2.9/", Endpoints: []admin.EndpointStatus{{Address: netip.MustParseAddr("192.0.2.9"),
				Role: health.DNS}}},
		},
	}
	want := `Zone dl.example.org, serial 1795420016: 1 of 2 enabled mirrors eligible.
Enabled mirrors work: 0 fully, 1 partly, 1 not at all.
Pool from mirrors.json, accepted 2d ago.
Warning: panic in role dns, ipv4: only 10 of 30 by weight is up.
Warning: mirrors.json:1:2: cut
Warning: NOTIFY has failed for 5m: 192.0.2.53:53: NOTIFY of dl.example.org.: no answer in time
Warning: publishing has failed for 3h00m: 192.0.2.55:53: connection: connection refused
The reference is 26h00m old, and carried by 1 of 2 enabled mirrors.

  ADDRESS      ROLE  STATE    SINCE  CHECKED  LATENCY  TRACE
https://mirror.example.net/tails/  m7  weight 10, serves dns and http
  192.0.2.7    http  up       3h00m  12s      45.7 ms  26h00m
  2001:db8::7  http  down     3h00m  12s      45.7 ms  26h00m
      connect: timed out\u001b[2J
      operators: ops@example.net
      notes: 1 Gbit/s
http://ftp.example.org/  weight 20, serves nothing
      resolve: "ftp.example.org" has no address
http://192.0.2.9/  disabled
  192.0.2.9    dns   unknown  -      -        -        -
`
	var got strings.Builder
	if err := WriteStatus(&got, &status, now, false); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
