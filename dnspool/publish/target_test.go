package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"mirrorpool/dnspool/tsig"
	"mirrorpool/testdata/testbed"
)

// targetAt is a target that has no patience.
func targetAt(t *testing.T, addr string, key *tsig.Key, log *zap.Logger) *target {
	t.Helper()
	c := testTarget()
	c.Server = addr
	target, err := newTarget(c, log)
	if err != nil {
		t.Fatal(err)
	}
	target.key = key
	target.schedule = schedule{pause: time.Millisecond, first: 10 * time.Millisecond, last: 50 * time.Millisecond}
	target.reconcile = 20 * time.Millisecond
	return target
}

func TestKeep(t *testing.T) {
	t.Parallel()
	key := testKey(t, 1)
	p := startPrimary(t, key)
	kept := targetAt(t, p.addr, key, zap.NewNop())
	const a, b, c = "dl.example.org. 60 IN A 192.0.2.1", "dl.example.org. 60 IN A 192.0.2.2", "dl.example.org. 60 IN A 192.0.2.3"
	p.set(t, "dl.example.org. 3600 IN A 192.0.2.99", "dl.example.org. 60 IN TXT left-alone")
	for _, step := range []struct {
		pool    string
		want    []string
		updates int
	}{
		{"5 192.0.2.1\n5 192.0.2.2\n1 192.0.2.3", []string{a, b}, 1},
		{"5 192.0.2.1\n5 192.0.2.2\n1 192.0.2.3", []string{a, b}, 1},  // nothing new
		{"5 192.0.2.1\n5 192.0.2.2\n4! 192.0.2.3", []string{a, b}, 1}, // of no concern here
		{"5 192.0.2.1\n5! 192.0.2.2\n1 192.0.2.3", []string{a, c}, 2},
		{"5! 192.0.2.1\n5! 192.0.2.2\n1! 192.0.2.3", []string{a, b}, 3}, // panic
		{"5", []string{a, b}, 3},           // none: left as it is
		{"5\n0 192.0.2.2", []string{a}, 4}, // but for a disabled mirror
		{"5\n0 192.0.2.2", []string{a}, 4},
		{"5 2001:db8::1", []string{"dl.example.org. 60 IN AAAA 2001:db8::1"}, 5},
	} {
		_, err := kept.keep(t.Context(), pool(t, step.pool))
		if err != nil && !errors.Is(err, errNoAddress) {
			t.Fatalf("%q: %v", step.pool, err)
		}
		got, updates := p.holds()
		if diff := cmp.Diff(append(step.want, `dl.example.org. 60 IN TXT "left-alone"`), got); diff != "" || updates != step.updates {
			t.Errorf("%q: %d updates, want %d (-want +got):\n%s", step.pool, updates, step.updates, diff)
		}
	}
}

// TestFailures wants errors that name the server, the step and the code, and nothing changed.
func TestFailures(t *testing.T) {
	t.Parallel()
	key, other := testKey(t, 1), testKey(t, 2)
	unknown, _ := tsig.NewKey("unknown.", "hmac-sha256", bytes.Repeat([]byte{1}, 32))
	code := func(opcode, rcode int) func(dns.ResponseWriter, *dns.Msg) bool {
		return func(w dns.ResponseWriter, req *dns.Msg) bool {
			if req.Opcode != opcode {
				return false
			}
			resp := new(dns.Msg).SetRcode(req, rcode)
			key.Sign(resp, time.Now())
			w.WriteMsg(resp)
			return true
		}
	}
	var writes atomic.Uint32 // by a faster writer
	tests := map[string]struct {
		key     *tsig.Key
		skew    time.Duration
		set     string
		instead func(dns.ResponseWriter, *dns.Msg) bool
		before  func(p *primary, req *dns.Msg)
		want    string
		rcode   int
	}{
		"SERVFAIL for an update": {instead: code(dns.OpcodeUpdate, dns.RcodeServerFailure),
			want: "update of example.org.: SERVFAIL: it cannot do this now", rcode: dns.RcodeServerFailure},
		"REFUSED for an update": {instead: code(dns.OpcodeUpdate, dns.RcodeRefused),
			want: "update of example.org.: REFUSED: it does not permit us this", rcode: dns.RcodeRefused},
		"NOTIMP": {instead: code(dns.OpcodeUpdate, dns.RcodeNotImplemented),
			want: "update of example.org.: NOTIMP: it does not know", rcode: dns.RcodeNotImplemented},
		"SERVFAIL for a query": {instead: code(dns.OpcodeQuery, dns.RcodeServerFailure),
			want: "query for dl.example.org. A: SERVFAIL", rcode: dns.RcodeServerFailure},
		"not the primary": {instead: code(dns.OpcodeQuery, dns.RcodeSuccess),
			want: "query for dl.example.org. A: it has no authority", rcode: 0},
		"silence": {instead: func(dns.ResponseWriter, *dns.Msg) bool {
			return true
		}, want: "query for dl.example.org. A: no answer in time", rcode: -1},
		"cut": {instead: func(w dns.ResponseWriter, _ *dns.Msg) bool { w.Close(); return true },
			want: "query for dl.example.org. A: EOF", rcode: -1},
		"an answer that is not signed": {instead: func(w dns.ResponseWriter, req *dns.Msg) bool {
			w.WriteMsg(new(dns.Msg).SetReply(req))
			return true
		}, want: "query for dl.example.org. A: NOERROR, without a signature", rcode: 0},
		"an answer signed otherwise": {instead: func(w dns.ResponseWriter, req *dns.Msg) bool {
			resp := new(dns.Msg).SetReply(req)
			other.Sign(resp, time.Now())
			wire, _, _ := dns.TsigGenerateWithProvider(resp, other.Ring(), req.IsTsig().MAC, false)
			w.Write(wire)
			return true
		}, want: "query for dl.example.org. A: the response is not signed with our key update.", rcode: 0},
		"a CNAME record": {before: func(p *primary, req *dns.Msg) {
			p.sets["dl.example.org.A"] = []dns.RR{&dns.CNAME{Hdr: dns.RR_Header{Name: "dl.example.org.", Rrtype: dns.TypeCNAME,
				Class: 1}, Target: "x."}}
		}, want: "there is a CNAME record", rcode: 0},
		"an unknown key": {key: unknown,
			want: "query for dl.example.org. A: NOTAUTH, BADKEY: the server does not have our key unknown.", rcode: dns.RcodeNotAuth},
		"another secret": {key: other, want: "query for dl.example.org. A: NOTAUTH, BADSIG: the server has another secret",
			rcode: dns.RcodeNotAuth},
		"a clock that is slow": {skew: -time.Hour, want: "query for dl.example.org. A: NOTAUTH, BADTIME: the server's clock is ",
			rcode: dns.RcodeNotAuth},
		"a faster writer": {before: func(p *primary, req *dns.Msg) {
			if req.Opcode == dns.OpcodeUpdate {
				p.sets["dl.example.org.A"] = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: "dl.example.org.", Rrtype: dns.TypeA, Class: 1},
					A: net.IPv4(192, 0, 2, byte(100+writes.Add(1)))}}
			}
		}, want: "another program keeps changing them", rcode: dns.RcodeNXRrset},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startPrimary(t, key)
			p.set(t, "dl.example.org. 60 IN A 192.0.2.99")
			p.behave(test.instead, test.before)
			if test.key == nil {
				test.key = key
			}
			kept := targetAt(t, p.addr, test.key, zap.NewNop())
			kept.timeout = 300 * time.Millisecond
			kept.now = func() time.Time { return time.Now().Add(test.skew) }
			_, err := kept.keep(t.Context(), pool(t, "1 192.0.2.1"))
			var failure *Error
			if !errors.As(err, &failure) || failure.Server != p.addr || failure.Rcode != test.rcode ||
				!strings.HasPrefix(err.Error(), p.addr+": ") || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q with code %d", err, test.want, test.rcode)
			}
			if _, updates := p.holds(); updates > 0 {
				t.Error("an update was carried out")
			}
		})
	}
	t.Run("no server is there", func(t *testing.T) {
		t.Parallel()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		kept := targetAt(t, l.Addr().String(), nil, zap.NewNop())
		if _, err := kept.keep(t.Context(), pool(t, "1 192.0.2.1")); err == nil ||
			!strings.Contains(err.Error(), "connection: connect: connection refused") {
			t.Error(err)
		}
	})
}

// TestConflict has another program change the set between our look and our update, once: we look again.
func TestConflict(t *testing.T) {
	t.Parallel()
	p := startPrimary(t, nil)
	once := sync.OnceFunc(func() { p.set(t, "dl.example.org. 60 IN A 192.0.2.99") })
	p.behave(nil, func(_ *primary, req *dns.Msg) {
		if req.Opcode == dns.OpcodeUpdate {
			once()
		}
	})
	kept := targetAt(t, p.addr, nil, zap.NewNop())
	if _, err := kept.keep(t.Context(), pool(t, "1 192.0.2.1")); err != nil {
		t.Fatal(err)
	}
	if got, updates := p.holds(); updates != 1 || !slices.Equal(got, []string{"dl.example.org. 60 IN A 192.0.2.1"}) ||
		kept.counts.conflicts.Load() != 1 {
		t.Errorf("%v after %d updates and %d conflicts", got, updates, kept.counts.conflicts.Load())
	}
}

// start runs targets until the test ends.
func start(t *testing.T, run func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Run does not end")
		}
	})
}

// TestReconcile edits by hand what is kept.
func TestReconcile(t *testing.T) {
	t.Parallel()
	const ours, theirs = "dl.example.org. 60 IN A 192.0.2.1", "dl.example.org. 60 IN A 192.0.2.99"
	for _, mode := range []string{"enforce", "report"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			core, logs := observer.New(zapcore.WarnLevel)
			p := startPrimary(t, nil)
			kept := targetAt(t, p.addr, nil, zap.New(core))
			kept.config.Reconcile = mode
			holds := func(want string) func() bool {
				return func() bool { got, _ := p.holds(); return slices.Equal(got, []string{want}) }
			}
			start(t, (&Publisher{[]*target{kept}}).Run)
			kept.follow(pool(t, "1 192.0.2.1"))
			testbed.Eventually(t, "the first update", func() bool { return holds(ours)() && kept.counts.checked.Load() > 0 })
			p.change(func(p *primary) { p.set(t, theirs) })
			if mode == "enforce" {
				testbed.Eventually(t, "it is put back", holds(ours))
				testbed.Eventually(t, "it is counted", func() bool {
					return kept.counts.foreign.Load() == 1 && kept.counts.updates.Load() == 2
				})
			} else {
				testbed.Eventually(t, "it is reported", func() bool { return logs.Len() == 1 })
				if text := fmt.Sprint(logs.All()[0].ContextMap()["error"]); !strings.Contains(text,
					"changed by another program: dl.example.org. A holds [192.0.2.99] with a TTL of 60, not [192.0.2.1]") {
					t.Errorf("it is reported as %s", text)
				}
				if !holds(theirs)() {
					t.Error("it was put back")
				}
			}
			// A new set goes there in either case.
			kept.follow(pool(t, "1 192.0.2.2"))
			testbed.Eventually(t, "the new set", holds("dl.example.org. 60 IN A 192.0.2.2"))
		})
	}
}

// TestTwoWriters lets two publishers that do not agree keep the same set. They must not fight for ever.
func TestTwoWriters(t *testing.T) {
	t.Parallel()
	p := startPrimary(t, nil)
	a, b := targetAt(t, p.addr, nil, zap.NewNop()), targetAt(t, p.addr, nil, zap.NewNop())
	start(t, (&Publisher{[]*target{a, b}}).Run)
	a.follow(pool(t, "1 192.0.2.1"))
	b.follow(pool(t, "1 192.0.2.2"))
	// Each looks half as often as before after each dispute, so that it takes a second for one to have five.
	testbed.Eventually(t, "both have found out", func() bool { return a.counts.foreign.Load() >= 3 && b.counts.foreign.Load() >= 3 })
	if got, _ := p.holds(); len(got) != 1 {
		t.Errorf("%v, want the set of one of them", got)
	}
}

// TestOneFailsOneDoesNot has a target that never answers beside one that does.
func TestOneFailsOneDoesNot(t *testing.T) {
	t.Parallel()
	mute, good := startPrimary(t, nil), startPrimary(t, nil)
	mute.behave(func(dns.ResponseWriter, *dns.Msg) bool { return true }, nil)
	a, b := targetAt(t, mute.addr, nil, zap.NewNop()), targetAt(t, good.addr, nil, zap.NewNop())
	a.timeout = time.Minute // for the rest of the test
	p := &Publisher{[]*target{a, b}}
	start(t, p.Run)
	for i := range 5 {
		p.Publish(pool(t, fmt.Sprintf("1 192.0.2.%d", i+1)))
		testbed.Eventually(t, "the good one has it", func() bool {
			got, _ := good.holds()
			return slices.Equal(got, []string{fmt.Sprintf("dl.example.org. 60 IN A 192.0.2.%d", i+1)})
		})
	}
}

// TestRetry has a server fail several times.
func TestRetry(t *testing.T) {
	t.Parallel()
	p := startPrimary(t, nil)
	failures := 0
	p.behave(func(w dns.ResponseWriter, req *dns.Msg) bool {
		if failures++; failures > 4 {
			return false
		}
		w.WriteMsg(new(dns.Msg).SetRcode(req, dns.RcodeServerFailure))
		return true
	}, nil)
	core, logs := observer.New(zapcore.InfoLevel)
	kept := targetAt(t, p.addr, nil, zap.New(core))
	start(t, (&Publisher{[]*target{kept}}).Run)
	kept.follow(pool(t, "1 192.0.2.1"))
	testbed.Eventually(t, "it succeeds", func() bool { return kept.counts.checked.Load() > 0 })
	testbed.Eventually(t, "that is logged", func() bool { return logs.FilterMessage("publishing works again").Len() == 1 })
	if n := logs.FilterLevelExact(zapcore.WarnLevel).Len(); n != 1 || kept.counts.failures.Load() != 4 {
		t.Errorf("%d warnings of %d failures, want one of 4", n, kept.counts.failures.Load())
	}
}
