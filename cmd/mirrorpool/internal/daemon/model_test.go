package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"mirrorpool/config"
	"mirrorpool/health"
	"mirrorpool/testdata/testbed"
)

// TestModel puts the whole program but its sockets through random sequences of pool edits, verdicts, clock steps and
// restarts. After each of them it asks both faces, and holds the rules of the design against what they really answer.
//
// A sequence that breaks a rule is made as short as it gets before it is printed. MODEL_SEED runs one sequence again;
// with MIRRORPOOL_TEST_LONG they are other ones each time.
func TestModel(t *testing.T) {
	t.Parallel()
	sequences, seed := testbed.Sequences(t, 30)
	for i := range uint64(sequences) {
		ops := randomOps(seed + i)
		err := runModel(t, ops)
		if err == nil {
			continue
		}
		t.Logf("MODEL_SEED=%d breaks a rule: %v", seed+i, err)
		ops, err = testbed.Shrink(ops, err, func(fewer []op) error { return runModel(t, fewer) })
		t.Fatalf("the shortest sequence that does:\n%s\n%v", strings.Join(describeOps(ops), "\n"), err)
	}
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

// newModel returns the program, not started, with a pool of mirrors that differ in what they offer.
func newModel(t *testing.T, dir string, hosts int) *model {
	m := &model{t: t, dir: dir, world: newWorld(), pool: modelPool{}}
	m.world.now = m.time
	r := rand.New(rand.NewPCG(7, 7))
	for host := range hosts {
		m.pool[host] = randomEntry(r, host)
	}
	return m
}

// runModel runs a sequence in a bubble with a time of its own, and returns which rule it has broken.
func runModel(t *testing.T, ops []op) (err error) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m := newModel(t, dir, modelHosts-2)
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
	m.begin()
	m.world.watch(m.pool.hosts())
	var g errgroup.Group
	for _, run := range []func(context.Context) error{m.checker.Run, m.loadPast, m.followVerdicts, m.saveState, m.face} {
		g.Go(func() error { return run(ctx) })
	}
	m.stop = func() error { cancel(); return g.Wait() }
	return nil
}

// newDaemon is what New does, with the world in place of the network, and no listener.
func (m *model) newDaemon(c *config.Server) (*Daemon, error) {
	o := Options{Config: c, Log: zap.NewNop()}
	list, err := startList(context.Background(), o, readVerdicts(o.Config, m.time))
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

// unresolvable reports whether an endpoint is down because of what DNS says of its host, which is found out anew.
func unresolvable(e health.Endpoint) bool {
	return strings.HasPrefix(e.Reason, health.StepResolve+": ")
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
		if !there || e.State == health.Unknown || !young || now.Checked.After(before.At.Add(away)) || unresolvable(e) || unresolvable(now) {
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
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		kept[name], err = os.ReadFile(name)
		return err
	})
	if err != nil {
		return err
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
		if r.IntN(8) == 0 && filepath.Base(name) == "verdicts" {
			text = text[:len(text)/2] // the disk has lost some
		}
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(name, text, 0o600); err != nil {
			return err
		}
	}
	return m.start()
}
