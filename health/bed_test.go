package health

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"mirrorpool/config"
)

// traceTime is what the trace files of these tests say, unless a test has another one.
var traceTime = time.Unix(1772366400, 0).UTC()

// retryTime is when a host is looked up again after a failure.
const retryTime = 30 * time.Second

// A bed is a checker with fakes around it, in a synctest bubble: its time is not ours.
type bed struct {
	*Checker
	t    *testing.T
	logs *observer.ObservedLogs

	mu     sync.Mutex
	behave map[string]func(context.Context, Target) Observation // by address, or address/role; nil: passes
	starts map[endpointKey][]time.Time
	now    map[endpointKey]int // probes under way
	most   map[endpointKey]int // at the same time
	all    int
	peak   int
	hosts  map[string][2]Answer // what the resolver knows

	lookupTime time.Duration // that the resolver takes for an answer
}

// newBed returns a bed with the default settings, changed by change unless that is nil.
func newBed(t *testing.T, change func(*Options)) *bed {
	t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	b := &bed{t: t, logs: logs, behave: map[string]func(context.Context, Target) Observation{},
		starts: map[endpointKey][]time.Time{},
		now:    map[endpointKey]int{}, most: map[endpointKey]int{}, hosts: map[string][2]Answer{}}
	o := Options{
		Settings: config.Health{Enabled: true, Interval: 30 * time.Second, Timeout: 10 * time.Second, Rise: 2, Fall: 3,
			Path: "project/trace", MaxLag: 3 * time.Hour, DNSURL: "http://dl.example.org/tails/project/trace"},
		CheckDNS: true, Prober: b, Resolver: b, Reference: b,
		Log: zap.New(core), Now: time.Now, Rand: rand.New(rand.NewPCG(1, 2)),
	}
	if change != nil {
		change(&o)
	}
	var err error
	if b.Checker, err = NewChecker(o); err != nil {
		t.Fatal(err)
	}
	return b
}

// start runs the checker; the returned function stops it and waits.
func (b *bed) start() (stop func()) {
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Errorf("Run returned %v", err)
		}
	}
}

// pool parses mirrors: one per field, as HOST=ADDRESS,..., or HOST alone to have it looked up. A host that begins
// with "-" is disabled.
func pool(t testing.TB, text string) *config.Pool {
	t.Helper()
	p := &config.Pool{}
	for field := range strings.FieldsSeq(text) {
		host, list, _ := strings.Cut(field, "=")
		m := config.Mirror{Weight: 10}
		if strings.HasPrefix(host, "-") {
			m.Weight, host = 0, host[1:]
		}
		m.URLPrefix = "http://" + host + "/tails/"
		var err error
		if m.URL, err = url.Parse(m.URLPrefix); err != nil {
			t.Fatal(err)
		}
		m.DNS.Weight = m.Weight
		m.DNS.Addresses = addrs(strings.ReplaceAll(list, ",", " "))
		p.Mirrors = append(p.Mirrors, m)
	}
	return p
}

// set makes the endpoint at address behave, in all roles, or in one if address is followed by "/" and the role.
func (b *bed) set(address string, behave func(context.Context, Target) Observation) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.behave[address] = behave
}

// Probe does what the address was told to.
func (b *bed) Probe(ctx context.Context, t Target) Observation {
	p := endpointKey{t.Address, t.Role}
	b.mu.Lock()
	b.starts[p] = append(b.starts[p], time.Now())
	b.now[p]++
	b.all++
	b.most[p] = max(b.most[p], b.now[p])
	b.peak = max(b.peak, b.all)
	behave := b.behave[t.Address.String()+"/"+t.Role.String()]
	if behave == nil {
		behave = b.behave[t.Address.String()]
	}
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.now[p]--
		b.all--
	}()
	if t.RequestTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, t.RequestTimeout)
		defer cancel()
	}
	start := time.Now()
	o := Observation{Result: Up, Trace: traceTime}
	if behave != nil {
		o = behave(ctx, t)
	}
	o.At, o.Took = time.Now(), time.Since(start)
	return o
}

// Lookup answers from hosts, after lookupTime.
func (b *bed) Lookup(_ context.Context, host string) (v4, v6 Answer) {
	time.Sleep(b.lookupTime) // in the bubble: nothing is waited for
	b.mu.Lock()
	defer b.mu.Unlock()
	found, ok := b.hosts[host]
	if !ok {
		err := fmt.Errorf("asking 192.0.2.53:53 for %s A: SERVFAIL", host)
		return Answer{Err: err, TTL: retryTime}, Answer{Err: err, TTL: retryTime}
	}
	return found[0], found[1]
}

// knows makes the resolver know host's addresses.
func (b *bed) knows(host, addresses string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	found := [2]Answer{{TTL: time.Minute}, {TTL: time.Minute}}
	for _, addr := range addrs(addresses) {
		i := 0
		if addr.Is6() {
			i = 1
		}
		found[i].Addresses = append(found[i].Addresses, addr)
	}
	b.hosts[host] = found
}

// forgets makes the resolver fail for host.
func (b *bed) forgets(host string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.hosts, host)
}

// ReadReference returns the trace that the reference is said to behave with.
func (b *bed) ReadReference(ctx context.Context, u *url.URL, _ string) (time.Time, error) {
	b.mu.Lock()
	behave := b.behave[u.Host]
	b.mu.Unlock()
	if behave == nil {
		return time.Time{}, errors.New("connect: connection refused")
	}
	o := behave(ctx, Target{})
	return o.Trace, nil
}

// verdictAt returns the verdict on an address, in whichever mirror it is.
func (b *bed) verdictAt(address string, role Role) Verdict {
	b.t.Helper()
	for _, m := range b.Report().Mirrors {
		for _, e := range m.Endpoints {
			if e.Address == netip.MustParseAddr(address) && e.Role == role {
				return e.Verdict
			}
		}
		if m.Rsync != nil && role == Rsync && m.Rsync.Address == netip.MustParseAddr(address) {
			return m.Rsync.Verdict
		}
	}
	b.t.Fatalf("no verdict on %s in role %v", address, role)
	return Verdict{}
}

// count returns how often an address was probed in a role.
func (b *bed) count(address string, role Role) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.starts[endpointKey{netip.MustParseAddr(address), role}])
}

// startsAt returns when an address was probed in a role.
func (b *bed) startsAt(address string, role Role) []time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.starts[endpointKey{netip.MustParseAddr(address), role}])
}

// wait lets d pass, and then everything that is due happen.
func wait(d time.Duration) {
	time.Sleep(d) // in the bubble: this is how time goes on there
	synctest.Wait()
}

// The ways to behave.

func fails(reason string) func(context.Context, Target) Observation {
	return func(context.Context, Target) Observation { return Observation{Result: Down, Reason: reason} }
}

func hangs(ctx context.Context, _ Target) Observation {
	<-ctx.Done()
	return Observation{Result: Down, Reason: "request: timed out"}
}

func carries(trace time.Time) func(context.Context, Target) Observation {
	return func(context.Context, Target) Observation { return Observation{Result: Up, Trace: trace} }
}

func slowly(d time.Duration) func(context.Context, Target) Observation {
	return func(ctx context.Context, t Target) Observation {
		select {
		case <-time.After(d):
			return Observation{Result: Up, Trace: traceTime}
		case <-ctx.Done():
			return hangs(ctx, t)
		}
	}
}

func addrs(text string) []netip.Addr {
	var list []netip.Addr
	for field := range strings.FieldsSeq(text) {
		list = append(list, netip.MustParseAddr(field))
	}
	return list
}
