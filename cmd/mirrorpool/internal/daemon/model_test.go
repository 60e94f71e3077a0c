package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/health"
	"mirrorpool/testdata/testbed"
)

// TestModel puts the whole program but its sockets through random sequences of pool edits, verdicts, clock steps and
// restarts. After each of them it asks both faces, and holds the rules of the design against what they really answer.
//
// A sequence that breaks a rule is made as short as it gets before it is printed. MODEL_SEED runs one sequence again.
func TestModel(t *testing.T) {
	t.Parallel()
	sequences, seed := 30, rand.Uint64()
	switch {
	case testbed.Long():
		sequences = 1000
	case testbed.Race, testing.Short():
		sequences = 6
	}
	if text := os.Getenv("MODEL_SEED"); text != "" {
		sequences = 1
		if _, err := fmt.Sscan(text, &seed); err != nil {
			t.Fatalf("MODEL_SEED: %v", err)
		}
	}
	for i := range uint64(sequences) {
		ops := randomOps(seed + i)
		err := runModel(t, ops)
		if err == nil {
			continue
		}
		t.Logf("MODEL_SEED=%d breaks a rule: %v", seed+i, err)
		ops, err = shrink(t, ops, err)
		t.Fatalf("the shortest sequence that does:\n%s\n%v", strings.Join(describeOps(ops), "\n"), err)
	}
}

// An op is an event in a sequence. What is random about it comes of seed, so that it is the same whatever else happens.
type op struct {
	kind opKind
	seed uint64
}

type opKind int

const (
	editPool opKind = iota
	breakPool
	changeSome
	changeAll
	changeNames
	changeResolver
	passTime
	stepClock
	restart
	crash
	calm
	opKinds
)

var opNames = [opKinds]string{"edit the pool", "publish a bad pool", "some endpoints change", "all endpoints change",
	"DNS changes", "the resolver changes",
	"time passes", "the clock steps", "restart", "crash", "calm"}

func describeOps(ops []op) []string {
	var lines []string
	for _, o := range ops {
		lines = append(lines, fmt.Sprintf("  {%d, %d}, // %s", o.kind, o.seed, opNames[o.kind]))
	}
	return lines
}

func randomOps(seed uint64) []op {
	r := rand.New(rand.NewPCG(seed, 1))
	kinds := []opKind{editPool, editPool, editPool, breakPool, changeSome, changeSome, changeSome, changeAll, changeNames,
		changeResolver, passTime, passTime,
		passTime, stepClock, restart, restart, crash, calm, calm}
	ops := make([]op, 12+r.IntN(24))
	for i := range ops {
		ops[i] = op{kinds[r.IntN(len(kinds))], r.Uint64()}
	}
	return append(ops, op{calm, 0})
}

// shrink leaves out of ops what it can without getting them to pass.
func shrink(t *testing.T, ops []op, err error) ([]op, error) {
	for size := len(ops) / 2; size > 0; {
		shorter := false
		for at := 0; at+size <= len(ops); {
			fewer := slices.Concat(ops[:at], ops[at+size:])
			if e := runModel(t, fewer); e != nil {
				ops, err, shorter = fewer, e, true
			} else {
				at += size
			}
		}
		if !shorter || size > len(ops) {
			size /= 2
		}
	}
	return ops, err
}

// A model is the program under test, and what it should be like.
type model struct {
	t     *testing.T
	dir   string
	world *world
	clock atomic.Int64 // by how much the wall clock is off
	boot  atomic.Int64 // the same when the process began

	pool modelPool // in force

	*Daemon
	stop    func() error
	serial  uint32   // the latest that was seen
	records []string // of the transfer with it
}

// runModel runs a sequence in a bubble with a time of its own, and returns which rule it has broken.
func runModel(t *testing.T, ops []op) (err error) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m := &model{t: t, dir: dir, world: newWorld()}
		m.world.now = m.time
		m.pool = modelPool{}
		r := rand.New(rand.NewPCG(7, 7))
		for host := range modelHosts - 2 {
			m.pool[host] = randomEntry(r, host)
		}
		if err = m.start(); err != nil {
			return
		}
		defer func() { m.stop() }()
		for i, o := range ops {
			if err = m.do(o); err != nil {
				err = fmt.Errorf("op %d of %d, %s: %w", i+1, len(ops), opNames[o.kind], err)
				return
			}
		}
	})
	return err
}

// time is the clock that the program sees.
func (m *model) time() time.Time { return time.Now().Add(time.Duration(m.clock.Load())) }

const modelInterval = 30 * time.Second

// start starts the program with what is on disk.
func (m *model) start() error {
	if m.Daemon == nil {
		testbed.Put(m.t, m.file("mirrors.json"), m.pool.json())
		testbed.Put(m.t, m.file("mirrorpool.json"), map[string]any{
			"state_dir": "state",
			"dns": map[string]any{"listen": []string{"127.0.0.1:1"}, "zone": "dl.example.org", "nameservers": []string{"ns1.example.org"},
				"allow_transfer": []string{"127.0.0.0/8"}},
			"http":   map[string]any{"listen": []string{"127.0.0.1:2"}, "sticky": "0s"},
			"health": map[string]any{"allow_private": true, "max_lag": "5m", "reference_url": "https://origin.example.org/trace"},
		})
	}
	c, _, err := config.LoadServer(m.file("mirrorpool.json"))
	if err != nil {
		return err
	}
	// Nothing may listen: sockets know no bubble's time.
	c.DNS.Listen, c.HTTP.Listen, c.Admin.Listen = nil, nil, ""
	m.boot.Store(m.clock.Load())
	if m.Daemon, err = m.newDaemon(c); err != nil {
		return err
	}
	m.world.watch(nil)
	ctx, cancel := context.WithCancel(context.Background())
	m.checker.LoadState(m.stateFile("verdicts"))
	m.takePool()
	m.world.watch(m.pool.hosts())
	var g errgroup.Group
	for _, run := range []func(context.Context) error{m.checker.Run, m.followVerdicts, m.saveState, m.face} {
		g.Go(func() error { return run(ctx) })
	}
	m.stop = func() error { cancel(); return g.Wait() }
	return nil
}

// newDaemon is what New does, with the world in place of the network, and no listener.
func (m *model) newDaemon(c *config.Server) (*Daemon, error) {
	o := Options{Config: c, Log: zap.NewNop()}
	list, err := startList(context.Background(), o)
	if err != nil {
		return nil, err
	}
	newChecker := func(o health.Options) (*health.Checker, error) {
		o.Prober, o.Resolver, o.Reference, o.Rand = m.world, m.world, m.world, rand.New(rand.NewPCG(1, 2))
		return health.NewChecker(o)
	}
	return newDaemon(o, list, newChecker, m.time)
}

// file is the path of a file that the program reads.
func (m *model) file(name string) string { return filepath.Join(m.dir, name) }

// settle lets happen what is due, and the snapshot that comes of it.
func settle() {
	for range 3 {
		time.Sleep(2 * gatherTime) // in the bubble: this is how time goes on there
		synctest.Wait()
	}
}

// do lets an event happen, and looks at what has come of it.
func (m *model) do(o op) error {
	r := rand.New(rand.NewPCG(o.seed, 2))
	var err error
	switch o.kind {
	case editPool:
		err = m.edit(r)
	case breakPool:
		err = m.publishBad(r)
	case changeSome:
		m.world.changeMoods(r)
		time.Sleep(time.Duration(r.Int64N(int64(3 * modelInterval))))
	case changeAll:
		m.world.changeAll([]mood{passes, passes, passes, fails, hangs, lags, blind, distrusted}[r.IntN(8)])
		time.Sleep(time.Duration(r.Int64N(int64(10 * modelInterval))))
	case changeNames:
		m.world.changeDNS(r)
		time.Sleep(time.Duration(r.Int64N(int64(4 * time.Minute))))
	case changeResolver:
		m.world.changeResolver(r)
		time.Sleep(time.Duration(r.Int64N(int64(30 * time.Minute))))
	case passTime:
		time.Sleep(time.Duration(r.Int64N(int64([]time.Duration{time.Second, modelInterval, 20 * modelInterval,
			2 * time.Hour}[r.IntN(4)]))))
	case stepClock:
		// Back it can only go from one process to the next: what a process measures by its monotonic clock does not.
		m.clock.Add(int64(time.Duration(r.Int64N(int64(2 * time.Hour)))))
	case restart:
		err = m.restart(r)
	case crash:
		err = m.crash(r)
	case calm:
		time.Sleep(60 * modelInterval)
	}
	if err != nil {
		return err
	}
	settle()
	if err := m.opens(); err != nil {
		return err
	}
	if err := m.check(); err != nil {
		return err
	}
	if o.kind == calm {
		return m.checkCalm()
	}
	return nil
}

// opens waits for the faces to be open.
func (m *model) opens() error {
	for range 60 {
		select {
		case <-m.opened:
			return nil
		default:
		}
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
	}
	return errors.New("rule 5: the faces are not open after startup_timeout")
}

// edit puts another pool in force.
func (m *model) edit(r *rand.Rand) error {
	next := m.pool.edit(r)
	enabled := 0
	for _, e := range next {
		if e.weight > 0 {
			enabled++
		}
	}
	both := m.pool.hosts()
	maps.Copy(both, next.hosts())
	m.world.watch(both) // until it is known which of them is in force
	testbed.Put(m.t, m.file("mirrors.json"), next.json())
	before := m.Daemon.pool
	result := m.reloadPool(m.t.Context(), false)
	if result.Held != nil && r.IntN(2) == 0 {
		if m.Daemon.pool != before {
			return errors.New("rule 3: an update that is held back is in force")
		}
		result = m.reloadPool(m.t.Context(), true)
	}
	switch {
	case result.Err == nil:
		m.pool = next
	case m.Daemon.pool != before:
		return fmt.Errorf("rule 3: an update that is refused is in force: %w", result.Err)
	case enabled > 0 && result.Held == nil:
		return fmt.Errorf("a good update is refused: %w", result.Err)
	}
	if enabled == 0 && result.Err == nil {
		return errors.New("a pool without an enabled mirror is in force")
	}
	m.world.watch(m.pool.hosts())
	return nil
}

// publishBad publishes something that must change nothing.
func (m *model) publishBad(r *rand.Rand) error {
	good, err := json.Marshal(m.pool.json())
	if err != nil {
		return err
	}
	disabled := modelPool{}
	for host, e := range m.pool {
		e.weight = 0
		disabled[host] = e
	}
	bad := []any{
		"", "<html><body>404", string(good[:len(good)/2]), disabled.json(), `{"version": 1, "mirrors": []}`,
		strings.Replace(string(good), `"weight":`, `"weight":-1`, 1), strings.Replace(string(good), `"version":1`, `"version":"1"`, 1),
		string(good) + "x", "\x00\x01\x02",
	}
	testbed.Put(m.t, m.file("mirrors.json"), bad[r.IntN(len(bad))])
	before := m.Daemon.pool
	result := m.reloadPool(m.t.Context(), r.IntN(2) == 0)
	if result.Err == nil || m.Daemon.pool != before || m.list.Pool() != before {
		return fmt.Errorf("rule 3: a bad list has changed something: %v", result.Err)
	}
	if r.IntN(2) == 0 {
		testbed.Put(m.t, m.file("mirrors.json"), m.pool.json())
	}
	return nil
}

// restart ends the program and starts it again, perhaps after a while, perhaps under another clock.
func (m *model) restart(r *rand.Rand) error {
	before := m.checker.Report()
	if err := m.stop(); err != nil {
		return fmt.Errorf("at the end: %w", err)
	}
	stopped := m.time()
	time.Sleep(time.Duration(r.Int64N(int64([]time.Duration{time.Second, modelInterval, 30 * modelInterval}[r.IntN(3)]))))
	if r.IntN(3) == 0 {
		m.clock.Add(r.Int64N(int64(2*time.Hour)) - int64(time.Hour))
	}
	away := m.time().Sub(stopped)
	pool := m.Daemon.pool
	m.world.mu.Lock()
	clear(m.world.probed)
	m.world.mu.Unlock()
	if err := m.start(); err != nil {
		return err
	}
	if !reflect.DeepEqual(pool, m.Daemon.pool) {
		return fmt.Errorf("rule 3: the pool in force is another one after a restart")
	}
	settle()
	return m.checkRestored(before, away)
}

// checkRestored holds rule 5: verdicts survive a restart, if they are young enough.
func (m *model) checkRestored(before *health.Report, away time.Duration) error {
	after := m.checker.Report()
	known := func(report *health.Report) map[string]health.Endpoint {
		all := map[string]health.Endpoint{}
		for prefix, r := range report.Mirrors {
			for _, e := range r.Endpoints {
				all[fmt.Sprintf("%s %s/%s", prefix, e.Address, e.Role)] = e
			}
		}
		return all
	}
	was, is := known(before), known(after)
	for name, e := range was {
		now, there := is[name]
		age := before.At.Sub(e.Checked) + away
		young := age < 10*modelInterval-time.Second && away > -time.Minute/2
		if !there || e.State == health.Unknown || !young || now.Checked.After(before.At.Add(away)) {
			continue // it has been looked at anew, or is too old
		}
		if now.State != e.State {
			return fmt.Errorf("rule 5: %s was %v %v ago, and is %v after the restart", name, e.State, age, now.State)
		}
	}
	return nil
}

// crash ends the program as if it was killed: what it would have saved at its end, it did not.
func (m *model) crash(r *rand.Rand) error {
	kept := map[string][]byte{}
	time.Sleep(2 * time.Second) // within which the serial is saved
	dir := filepath.Join(m.dir, "state")
	names, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, f := range names {
		if kept[f.Name()], err = os.ReadFile(filepath.Join(dir, f.Name())); err != nil {
			return err
		}
	}
	if err := m.stop(); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	for name, text := range kept {
		if r.IntN(8) == 0 && name == "verdicts" {
			text = text[:len(text)/2] // the disk has lost some
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return err
		}
	}
	return m.start()
}

// A captured response is what a DNS client gets.
type captured struct {
	remote net.Addr
	msgs   []*dns.Msg
	err    error
}

func (c *captured) Write(wire []byte) (int, error) {
	msg := new(dns.Msg)
	if err := msg.Unpack(bytes.Clone(wire)); err != nil {
		c.err = err
	}
	c.msgs = append(c.msgs, msg)
	return len(wire), nil
}
func (c *captured) WriteMsg(msg *dns.Msg) error { c.msgs = append(c.msgs, msg); return nil }
func (c *captured) LocalAddr() net.Addr         { return c.remote }
func (c *captured) RemoteAddr() net.Addr        { return c.remote }
func (c *captured) Close() error                { return nil }
func (c *captured) TsigStatus() error           { return nil }
func (c *captured) TsigTimersOnly(bool)         {}
func (c *captured) Hijack()                     {}

// errServerFailure is the response while no mirror's address is known.
var errServerFailure = errors.New("SERVFAIL")

// ask asks the DNS face, over TCP.
func (m *model) ask(name string, qtype uint16) ([]dns.RR, error) {
	w := &captured{remote: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5353}}
	m.dns.ServeDNS(w, new(dns.Msg).SetQuestion(name, qtype))
	if w.err != nil || len(w.msgs) == 0 {
		return nil, fmt.Errorf("%s %s: no response that can be read: %w", name, dns.TypeToString[qtype], w.err)
	}
	var rrs []dns.RR
	for _, msg := range w.msgs {
		if msg.Rcode == dns.RcodeServerFailure {
			return nil, errServerFailure
		}
		if msg.Rcode != dns.RcodeSuccess && msg.Rcode != dns.RcodeNameError {
			return nil, fmt.Errorf("%s %s: %s", name, dns.TypeToString[qtype], dns.RcodeToString[msg.Rcode])
		}
		rrs = append(rrs, msg.Answer...)
	}
	return rrs, nil
}

const modelZone = "dl.example.org."

var families = map[dnspool.Family]uint16{dnspool.IPv4: dns.TypeA, dnspool.IPv6: dns.TypeAAAA}

// check holds the rules that hold at all times against what the faces answer.
func (m *model) check() error {
	return errors.Join(m.checkProbes(), m.checkAnswers(), m.checkNamed(), m.checkTransfer(), m.checkRedirects(), m.checkLegacy())
}

// checkProbes holds rule 4: what is out of the pool is not checked.
func (m *model) checkProbes() error {
	m.world.mu.Lock()
	defer m.world.mu.Unlock()
	if len(m.world.strays) > 0 {
		return fmt.Errorf("rule 4: probed, and not in the pool: %v", m.world.strays)
	}
	for host, n := range m.world.underway {
		if n > 0 && !m.world.watched[host] {
			return fmt.Errorf("rule 4: %d probes of %s, which is not in the pool, go on", n, host)
		}
	}
	return nil
}

// mayAnswer returns the addresses that may be in answers, and whether there have to be any of a family.
func (m *model) mayAnswer() (may map[netip.Addr]bool, must [2]bool) {
	may = map[netip.Addr]bool{}
	report := m.checker.Report()
	for _, e := range m.pool {
		if e.inDNS() == 0 {
			continue
		}
		for _, addr := range hostAddresses(e.host, true) {
			may[addr] = true
		}
		known := e.addresses()
		seen := report.Mirrors[e.prefix()].Endpoints
		for _, endpoint := range seen {
			if endpoint.Aside == "" {
				known = append(known, endpoint.Address)
			}
		}
		// Where nothing else was ever known of a mirror, what the resolver says is all there is.
		may[portalAddress] = may[portalAddress] || len(seen) > 0 && !slices.ContainsFunc(seen, func(e health.Endpoint) bool {
			return e.Address != portalAddress
		})
		for _, addr := range known {
			must[dnspool.FamilyOf(addr)] = true
		}
	}
	return may, must
}

// checkAnswers holds rules 1, 2 and 6 against the answers at the pool's name.
func (m *model) checkAnswers() error {
	may, must := m.mayAnswer()
	for family, qtype := range families {
		for range 20 {
			rrs, err := m.ask(modelZone, qtype)
			if errors.Is(err, errServerFailure) && m.current.Load().Blind(health.DNS) {
				continue
			}
			if err != nil {
				return err
			}
			if len(rrs) == 0 && must[family] {
				return fmt.Errorf("rule 2: no %v address is answered, and a mirror has one", family)
			}
			for _, rr := range rrs {
				addr, rrtype := testbed.AddressOf(rr)
				switch {
				case rrtype != qtype:
					return fmt.Errorf("rule 6: %v in the answer to %s", rr, dns.TypeToString[qtype])
				case !may[addr]:
					return fmt.Errorf("rule 1 or 4: %v is answered, and is no enabled mirror's", addr)
				}
			}
		}
	}
	return nil
}

// checkNamed holds rule 1 against the mirrors' own names.
func (m *model) checkNamed() error {
	for host := range modelHosts {
		for family, qtype := range families {
			rrs, err := m.ask(fmt.Sprintf("m%d.%s", host, modelZone), qtype)
			if err != nil {
				return err
			}
			e, there := m.pool[host]
			may := there && e.named && e.weight > 0
			if len(rrs) > 0 && !may {
				return fmt.Errorf("rule 1 or 4: %v, whose mirror is not enabled", rrs)
			}
			must := false
			for _, addr := range e.addresses() {
				must = must || may && dnspool.FamilyOf(addr) == family
			}
			if must && len(rrs) == 0 {
				return fmt.Errorf("m%d has no %v address, and should by its name", host, family)
			}
		}
	}
	return nil
}

// transferred returns the addresses at the pool's name as a transfer tells them.
func (m *model) transferred() (addrs map[netip.Addr]bool, records []string, serial uint32, err error) {
	rrs, err := m.ask(modelZone, dns.TypeAXFR)
	if errors.Is(err, errServerFailure) && m.current.Load().Blind(health.DNS) {
		return nil, m.records, m.serial, nil // no address has been known since the start
	}
	if err != nil {
		return nil, nil, 0, err
	}
	addrs = map[netip.Addr]bool{}
	for _, rr := range rrs {
		if soa, ok := rr.(*dns.SOA); ok {
			serial = soa.Serial
			continue
		}
		records = append(records, rr.String())
		if addr, rrtype := testbed.AddressOf(rr); rrtype != 0 && rr.Header().Name == modelZone {
			addrs[addr] = true
		}
	}
	slices.Sort(records)
	return addrs, records, serial, nil
}

// checkTransfer holds rule 1 against a transfer, and that the serial grows with each change, across restarts too.
func (m *model) checkTransfer() error {
	addrs, records, serial, err := m.transferred()
	if err != nil {
		return err
	}
	may, _ := m.mayAnswer()
	for addr := range addrs {
		if !may[addr] {
			return fmt.Errorf("rule 1 or 4: %v is transferred, and is no enabled mirror's", addr)
		}
	}
	grown := int32(serial - m.serial)
	if m.serial != 0 && (grown < 0 || grown == 0 && !slices.Equal(records, m.records)) {
		return fmt.Errorf("serial %d after %d, with other records:\n%q\n%q", serial, m.serial, m.records, records)
	}
	m.serial, m.records = serial, records
	return nil
}

// A modelClient is one that asks for a redirect.
type modelClient struct {
	family dnspool.Family
	secure bool
}

var modelClients = []modelClient{{dnspool.IPv4, false}, {dnspool.IPv6, false}, {dnspool.IPv4, true}, {dnspool.IPv6, true}}

// redirect asks the HTTP face, and returns the prefixes of where it leads to, the first one and the others; none if it
// leads nowhere.
func (m *model) redirect(c modelClient) ([]string, error) {
	const path = "/stable/x.iso"
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.RemoteAddr = "192.0.2.1:999"
	if c.family == dnspool.IPv6 {
		r.RemoteAddr = "[2001:db8::1]:999"
	}
	if c.secure {
		r = httptest.NewRequest(http.MethodGet, "https://dl.example.org"+path, nil)
		r.RemoteAddr = map[dnspool.Family]string{dnspool.IPv4: "192.0.2.1:999", dnspool.IPv6: "[2001:db8::1]:999"}[c.family]
	}
	w := httptest.NewRecorder()
	m.handler.ServeHTTP(w, r)
	switch w.Code {
	case http.StatusServiceUnavailable:
		return nil, nil
	case http.StatusFound:
	default:
		return nil, fmt.Errorf("a redirect with code %d", w.Code)
	}
	location := w.Header().Get("Location")
	prefixes := []string{strings.TrimSuffix(location, path[1:])}
	for link := range strings.SplitSeq(w.Header().Get("Link"), ", ") {
		if target, _, ok := strings.Cut(strings.TrimPrefix(link, "<"), ">"); ok {
			prefixes = append(prefixes, strings.TrimSuffix(target, path[1:]))
		}
	}
	return prefixes, nil
}

// checkRedirects holds rules 1, 2 and 8 against redirects and their alternatives.
func (m *model) checkRedirects() error {
	enabled := map[string]bool{}
	for _, e := range m.pool {
		enabled[e.prefix()] = e.weight > 0
	}
	for _, c := range modelClients {
		must := false
		for _, e := range m.pool {
			must = must || e.weight > 0 && e.given != 0 && (!c.secure || e.scheme() == "https")
		}
		for range 8 {
			prefixes, err := m.redirect(c)
			if err != nil {
				return err
			}
			if must && len(prefixes) == 0 {
				return fmt.Errorf("rule 2: %+v is not redirected, and a mirror is enabled", c)
			}
			for _, prefix := range prefixes {
				switch {
				case !enabled[prefix]:
					return fmt.Errorf("rule 1 or 4: redirected to %s, which is not enabled", prefix)
				case c.secure && !strings.HasPrefix(prefix, "https:"):
					return fmt.Errorf("rule 8: redirected from https to %s", prefix)
				}
			}
		}
	}
	return nil
}

// checkLegacy holds rule 1 against the list for Tails Upgrader.
func (m *model) checkLegacy() error {
	w := httptest.NewRecorder()
	m.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/mirrors.json", nil))
	var list struct {
		Mirrors []struct {
			URLPrefix string `json:"url_prefix"`
			Weight    uint32 `json:"weight"`
		} `json:"mirrors"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil {
		return err
	}
	weights := map[string]uint32{}
	for _, e := range m.pool {
		weights[e.prefix()] = e.weight
	}
	for _, e := range list.Mirrors {
		if weight, there := weights[e.URLPrefix]; !there || e.Weight != 0 && e.Weight != weight {
			return fmt.Errorf("rule 1 or 4: %s has weight %d in the list for Tails Upgrader, and is %v in the pool with weight %d",
				e.URLPrefix, e.Weight, there, weight)
		}
	}
	return nil
}
