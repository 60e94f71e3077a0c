package publish

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"mirrorpool/config"
	"mirrorpool/dnspool/tsig"
	"mirrorpool/testdata/testbed"
)

func notifierOf(t *testing.T, keys *tsig.Ring, log *zap.Logger, targets ...string) *Notifier {
	t.Helper()
	n, err := NewNotifier(config.DNS{Zone: "example.org.", Notify: targets}, keys, log)
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range n.targets {
		target.schedule = schedule{pause: 300 * time.Millisecond, first: 10 * time.Millisecond, last: 50 * time.Millisecond}
		target.timeout = 200 * time.Millisecond
	}
	return n
}

func (p *primary) notified() (n int) {
	p.change(func(p *primary) { n = len(p.notes) })
	return n
}

// TestNotify gives many serials at once: the first is sent at once, and the others together after the pause.
func TestNotify(t *testing.T) {
	t.Parallel()
	key := testKey(t, 1)
	signed, plain := startPrimary(t, key), startPrimary(t, nil)
	n := notifierOf(t, key.Ring(), zap.NewNop(), signed.addr+" update.", plain.addr)
	start(t, n.Run)
	n.Notify(1)
	began := time.Now()
	for _, p := range []*primary{signed, plain} {
		testbed.Eventually(t, "the first NOTIFY", func() bool { return p.notified() == 1 })
	}
	for serial := uint32(2); serial < 50; serial++ {
		n.Notify(serial)
	}
	n.Notify(49)
	for _, p := range []*primary{signed, plain} {
		testbed.Eventually(t, "the second NOTIFY", func() bool { return p.notified() == 2 })
		p.change(func(p *primary) {
			if p.notes[0] != "example.org." {
				t.Errorf("NOTIFY of %s", p.notes[0])
			}
		})
	}
	if took := time.Since(began); took < 200*time.Millisecond {
		t.Errorf("two of them within %v", took)
	}
	n.Notify(50)
	testbed.Eventually(t, "the third NOTIFY", func() bool { return signed.notified() == 3 && plain.notified() == 3 })
}

// TestNotifyRetry has one secondary that refuses, one that is silent for a while, and one that is well.
func TestNotifyRetry(t *testing.T) {
	t.Parallel()
	refusing, late, good := startPrimary(t, nil), startPrimary(t, nil), startPrimary(t, nil)
	refusing.behave(func(w dns.ResponseWriter, req *dns.Msg) bool {
		w.WriteMsg(new(dns.Msg).SetRcode(req, dns.RcodeRefused))
		return true
	}, nil)
	silent := 3
	late.behave(func(dns.ResponseWriter, *dns.Msg) bool { silent--; return silent >= 0 }, nil)
	core, logs := observer.New(zapcore.WarnLevel)
	n := notifierOf(t, (*tsig.Key)(nil).Ring(), zap.New(core), refusing.addr, late.addr, good.addr)
	start(t, n.Run)
	n.Notify(7)
	testbed.Eventually(t, "the good one knows", func() bool { return good.notified() == 1 })
	testbed.Eventually(t, "the late one knows", func() bool { return late.notified() == 1 })
	said := func(addr, what string) func() bool {
		return func() bool {
			for _, entry := range logs.All() {
				if text, _ := entry.ContextMap()["error"].(string); strings.HasPrefix(text, addr+": NOTIFY of example.org.: "+what) {
					return true
				}
			}
			return false
		}
	}
	testbed.Eventually(t, "the refusal is in the log", said(refusing.addr, "REFUSED"))
	testbed.Eventually(t, "the conditions name the refusal, and that the others are well", func() bool {
		c := n.Conditions()
		return strings.HasPrefix(c[0].Problem, refusing.addr+": NOTIFY of example.org.: REFUSED") && !c[0].Since.IsZero() &&
			c[1].Problem == "" && c[2] == Condition{good.addr, "example.org.", "", c[2].Since}
	})
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.CollectorFunc(n.Collect))
	want := fmt.Sprintf("# HELP mirrorpool_notify_up Whether a secondary has answered the latest NOTIFY well; absent before "+
		"the first.\n"+
		"# TYPE mirrorpool_notify_up gauge\nmirrorpool_notify_up{server=%q} 1\nmirrorpool_notify_up{server=%q} "+
		"0\nmirrorpool_notify_up{server=%q} 1\n",
		late.addr, refusing.addr, good.addr)
	testbed.Eventually(t, "the metrics say so, too", func() bool {
		return testutil.GatherAndCompare(registry, strings.NewReader(want), "mirrorpool_notify_up") == nil
	})
	testbed.Eventually(t, "the silence is in the log", said(late.addr, "no answer in time"))
	if n := good.notified(); n != 1 {
		t.Errorf("the good one was told %d times", n)
	}
}

func TestNewNotifier(t *testing.T) {
	t.Parallel()
	_, err := NewNotifier(config.DNS{Zone: "example.org.", Notify: []string{"192.0.2.1:53 missing."}}, testKey(t, 1).Ring(),
		zap.NewNop())
	if err == nil || !strings.Contains(err.Error(), `no file in dns.tsig_keys has the key "missing."`) {
		t.Error(err)
	}
}

// TestSources connects from addresses of this host, where there is one of the peer's family.
func TestSources(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		listen  string
		sources []string
		want    string // the address that the peer sees, or the error
	}{
		"none":                 {"127.0.0.1", nil, "127.0.0.1"},
		"of the peer's family": {"127.0.0.1", []string{"127.0.0.2"}, "127.0.0.2"},
		"of both":              {"127.0.0.1", []string{"::1", "127.0.0.2"}, "127.0.0.2"},
		"of both, over IPv6":   {"::1", []string{"127.0.0.2", "::1"}, "::1"},
		"of the other family":  {"127.0.0.1", []string{"::1"}, "127.0.0.1"},
		"likewise, over IPv6":  {"::1", []string{"127.0.0.2"}, "::1"},
		"not of this host": {"127.0.0.1", []string{"192.0.2.1"},
			"connection from 192.0.2.1: bind: cannot assign requested address"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var sources []netip.Addr
			for _, source := range test.sources {
				sources = append(sources, netip.MustParseAddr(source))
			}
			for _, network := range []string{"udp", "tcp"} {
				p := newPeer(listenAt(t, network, test.listen), sources, nil)
				conn, err := p.dial(t.Context(), network)
				if err != nil {
					if want := p.addr + ": " + test.want; err.Error() != want {
						t.Errorf("over %s: %v, want %s", network, err, want)
					}
					continue
				}
				if got := netip.MustParseAddrPort(conn.LocalAddr().String()).Addr().String(); got != test.want {
					t.Errorf("over %s: from %s, want %s", network, got, test.want)
				}
				conn.Close()
			}
		})
	}
}

// listenAt listens until the test ends, at a port of its own, and returns the address.
func listenAt(t *testing.T, network, host string) string {
	t.Helper()
	if network == "udp" {
		conn, err := net.ListenPacket(network, net.JoinHostPort(host, "0"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn.LocalAddr().String()
	}
	l, err := net.Listen(network, net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

func TestOutcome(t *testing.T) {
	t.Parallel()
	var o outcome
	if c := o.condition("s", "z"); c != (Condition{Server: "s", Zone: "z"}) {
		t.Errorf("before the first attempt: %v", c)
	}
	start := time.Unix(1_800_000_000, 0)
	for i, step := range []struct {
		err   error
		news  bool
		since int // the step
	}{
		{nil, false, 0}, {nil, false, 0}, {errors.New("a"), true, 2}, {errors.New("a"), false, 2}, {errors.New("b"), true, 2},
		{nil, true, 5}, {errors.New("b"), true, 6},
	} {
		at := func(step int) time.Time { return start.Add(time.Duration(step) * time.Second) }
		news := o.note(step.err, at(i))
		if c := o.condition("s", "z"); news != step.news || !c.Since.Equal(at(step.since)) || (c.Problem == "") != (step.err == nil) {
			t.Errorf("step %d: news %v, %v", i, news, c)
		}
	}
}
