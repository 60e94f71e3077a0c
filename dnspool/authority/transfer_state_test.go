package authority

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"

	"mirrorpool/dnspool/authority/transfer"
	"mirrorpool/testdata/testbed"
)

// TestRestart stops a server, and starts another one with what it left.
func TestRestart(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state")
	c := transferConfig("127.0.0.1/32")
	s, _, stop := startPrimary(t, c, nil, nil, dir)
	s.publish(snapshotAt(t, 12, 7))
	s.publish(snapshotAt(t, 11, 8))
	stop()
	s.o.Transfers.SaveVersion()
	if got := transfer.TakeVersion(dir, zap.NewNop()).Serial; got != 8 {
		t.Errorf("serial %d was kept, want 8", got)
	}

	s, addr, stop := startPrimary(t, c, nil, nil, dir)
	s.publish(snapshotAt(t, 12, 9))
	messages, err := fetchZone(t, addr, ixfrRequest(7), nil)
	if all := lines(slices.Concat(messages...)); err != nil || strings.Count(strings.Join(all, "\n"), "SOA") != 6 {
		t.Errorf("since before the restart: %v, %q; want two deltas", err, all)
	}
	stop()

	// A journal that is damaged is set aside, and all of the zone is transferred.
	path := filepath.Join(dir, "journal")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text[:len(text)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	s, addr, stop = startPrimary(t, c, nil, nil, dir)
	s.publish(snapshotAt(t, 12, 10))
	messages, err = fetchZone(t, addr, ixfrRequest(7), nil)
	if all := lines(slices.Concat(messages...)); err != nil || strings.Count(strings.Join(all, "\n"), "SOA") != 2 {
		t.Errorf("with a damaged journal: %v, %q; want all of the zone", err, all)
	}
	if _, err := os.Stat(path + ".bad"); err != nil {
		t.Error(err)
	}
	stop()
}

// TestOlderCopy stops a server after another one with the same folder has gone ahead: what that one has saved stays.
func TestOlderCopy(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state")
	c := transferConfig("127.0.0.1/32")
	older, _, stopOlder := startPrimary(t, c, nil, nil, dir)
	older.publish(snapshotAt(t, 12, 7))
	testbed.EventuallyNil(t, func() error { // or it might save while the newer one does: see transfer.Server.save
		_, err := os.Stat(filepath.Join(dir, "journal"))
		return err
	})
	newer, _, stopNewer := startPrimary(t, c, nil, nil, dir)
	newer.publish(snapshotAt(t, 11, 8))
	newer.publish(snapshotAt(t, 12, 9))
	stopNewer()
	stopOlder()
	newer.o.Transfers.SaveVersion()
	if got := transfer.TakeVersion(dir, zap.NewNop()).Serial; got != 9 {
		t.Errorf("serial %d is kept, want 9", got)
	}
	s, addr, _ := startPrimary(t, c, nil, nil, dir)
	s.publish(snapshotAt(t, 11, 10))
	messages, err := fetchZone(t, addr, ixfrRequest(9), nil)
	if all := lines(slices.Concat(messages...)); err != nil || strings.Count(strings.Join(all, "\n"), "SOA") != 4 {
		t.Errorf("since the version that was kept: %v, %q; want one delta", err, all)
	}
}

// TestUnwritableState goes on without it.
func TestUnwritableState(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, addr, stop := startPrimary(t, transferConfig("127.0.0.1/32"), nil, nil, filepath.Join(file, "below"))
	s.publish(snapshotAt(t, 3, 7))
	if _, err := fetchZone(t, addr, axfrRequest(), nil); err != nil {
		t.Error(err)
	}
	stop()
}

func TestTransferKeyMissing(t *testing.T) {
	t.Parallel()
	_, err := transfer.NewServer(transferConfig("missing."), newTestKey(t, "xfr.", 1).Ring(), "", zap.NewNop())
	if err == nil || !strings.Contains(err.Error(), `no file in dns.tsig_keys has the key "missing."`) {
		t.Errorf("a key that is not there: %v", err)
	}
}

// TestBeforeTheFirstSnapshot has nothing to transfer.
func TestBeforeTheFirstSnapshot(t *testing.T) {
	t.Parallel()
	_, addr, _ := startPrimary(t, transferConfig("127.0.0.1/32"), nil, nil, "")
	resp, _, err := (&dns.Client{Net: "tcp"}).Exchange(axfrRequest(), addr)
	if err != nil || resp.Rcode != dns.RcodeServerFailure {
		t.Errorf("%v, %v; want SERVFAIL", resp, err)
	}
}

func TestFeedMetrics(t *testing.T) {
	t.Parallel()
	s, addr, _ := startPrimary(t, transferConfig("127.0.0.1/32"), nil, nil, "")
	s.publish(snapshotAt(t, 12, 7))
	s.publish(snapshotAt(t, 11, 8))
	for _, req := range []*dns.Msg{axfrRequest(), ixfrRequest(7), ixfrRequest(6), ixfrRequest(8)} {
		if _, err := fetchZone(t, addr, req, nil); err != nil {
			t.Fatal(err)
		}
	}
	client := dns.Client{Net: "tcp", Dialer: &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}}}
	if _, _, err := client.Exchange(axfrRequest(), addr); err != nil {
		t.Fatal(err)
	}
	want := `
		# HELP mirrorpool_transfer_requests_total Requests for a transfer of the zone: axfr (all of it), ixfr (what has ` +
		`changed), full (all, in answer to IXFR), soa (nothing has changed) or none, and what came of them.
		# TYPE mirrorpool_transfer_requests_total counter
		mirrorpool_transfer_requests_total{kind="axfr",result="ok"} 1
		mirrorpool_transfer_requests_total{kind="full",result="ok"} 1
		mirrorpool_transfer_requests_total{kind="ixfr",result="ok"} 1
		mirrorpool_transfer_requests_total{kind="none",result="refused"} 1
		mirrorpool_transfer_requests_total{kind="soa",result="ok"} 1
	`
	testbed.EventuallyNil(t, func() error {
		return testutil.GatherAndCompare(gatherer(t, s.o.Transfers), strings.NewReader(want), "mirrorpool_transfer_requests_total")
	})
	if problems, err := testutil.GatherAndLint(gatherer(t, s.o.Transfers)); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}

// gatherer returns what gathers the feed's metrics, as the administrator's listener does.
func gatherer(tb testing.TB, f *transfer.Server) prometheus.Gatherer {
	tb.Helper()
	registry := prometheus.NewRegistry()
	if err := registry.Register(unchecked{f}); err != nil {
		tb.Fatal(err)
	}
	return registry
}

// unchecked is a collector that says nothing of what it collects.
type unchecked struct{ *transfer.Server }

func (unchecked) Describe(chan<- *prometheus.Desc) {}
