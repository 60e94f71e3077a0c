package watch

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"mirrorpool/testdata/testbed"
)

// TestModel puts groups of servers through random sequences of events: mirrors that some of them reach and others do
// not, links between them that fail, partitions, servers that suspect themselves, lie, restart, or have another clock.
// After each step it compares the joint verdicts with those of a model that has heard the same, and looks at the
// version of the zone that each server makes of them. Views travel over simulated links, which delay, lose, repeat and
// reorder them; the rest is the package as it is, without memberlist, whose choices are random each time.
//
// A sequence that breaks a rule is made as short as it gets before it is printed. MODEL_SEED runs one sequence again;
// with MIRRORPOOL_TEST_LONG they are other ones each time.
func TestModel(t *testing.T) {
	t.Parallel()
	sequences, seed := testbed.Sequences(t, 20)
	for i := range uint64(sequences) {
		ops := randomOps(seed + i)
		err := runModel(t, ops)
		if err == nil {
			continue
		}
		t.Logf("MODEL_SEED=%d breaks a rule: %v", seed+i, err)
		ops, err = testbed.Shrink(ops, err, func(fewer []modelOp) error { return runModel(t, fewer) })
		var lines []string
		for _, o := range ops {
			lines = append(lines, fmt.Sprintf("  {%d, %d}, // %s", o.kind, o.seed, modelOpNames[o.kind]))
		}
		t.Fatalf("the shortest sequence that does:\n%s\n%v", strings.Join(lines, "\n"), err)
	}
}

// A modelOp is an event in a sequence. What is random about it comes of seed.
type modelOp struct {
	kind modelOpKind
	seed uint64
}

type modelOpKind int

const (
	changeTruth modelOpKind = iota
	changeTruthForAll
	failLinks
	failStreams
	healLinks
	partition
	suspectItself
	lie
	stepClock
	restartOne
	stopOne
	editList
	otherList
	failAll
	passTime
	calm
)

var modelOpNames = [...]string{"some see mirrors otherwise", "all see mirrors otherwise", "links fail", "TCP fails", "links heal",
	"partition", "one suspects itself", "one lies", "a clock steps", "restart", "stop or start", "edit the list",
	"one has another list", "all mirrors fail", "time passes", "calm"}

func randomOps(seed uint64) []modelOp {
	r := rand.New(rand.NewPCG(seed, 1))
	kinds := []modelOpKind{changeTruth, changeTruth, changeTruth, changeTruthForAll, changeTruthForAll, failLinks, failStreams,
		healLinks, partition, suspectItself, lie, stepClock, restartOne, stopOne, editList, otherList, failAll, passTime, calm}
	ops := make([]modelOp, 10+r.IntN(20))
	for i := range ops {
		ops[i] = modelOp{kinds[r.IntN(len(kinds))], r.Uint64()}
	}
	return append(ops, modelOp{calm, seed})
}

// runModel runs a sequence, and returns which rule it has broken.
func runModel(t *testing.T, ops []modelOp) error {
	w, err := newModelWorld(t, rand.New(rand.NewPCG(ops[len(ops)-1].seed, 3)))
	if err != nil {
		return err
	}
	for i, o := range ops {
		if err := w.do(o); err != nil {
			return fmt.Errorf("op %d of %d, %s: %w", i+1, len(ops), modelOpNames[o.kind], err)
		}
	}
	return nil
}

// do lets an event happen, and some time pass.
func (w *modelWorld) do(o modelOp) error {
	r := rand.New(rand.NewPCG(o.seed, 2))
	s := w.servers[r.IntN(len(w.servers))]
	pause := time.Duration(r.IntN(12)) * time.Second
	switch o.kind {
	case changeTruth:
		for range 1 + r.IntN(3) {
			w.servers[r.IntN(len(w.servers))].see(r)
		}
	case changeTruthForAll:
		e, letter := modelEndpoints[r.IntN(len(modelEndpoints))], randomLetter(r)
		for _, s := range w.servers {
			s.seen[e] = letter
		}
	case failLinks:
		w.loss = []float64{0, 0.1, 0.3, 0.7}[r.IntN(4)]
		for range 1 + r.IntN(4) {
			w.cut[linkOf(w.servers[r.IntN(len(w.servers))], w.servers[r.IntN(len(w.servers))])] = true
		}
	case failStreams:
		for range 1 + r.IntN(4) {
			w.noTCP[linkOf(w.servers[r.IntN(len(w.servers))], w.servers[r.IntN(len(w.servers))])] = true
		}
	case healLinks:
		w.heal()
	case partition:
		w.partition(r)
	case suspectItself:
		s.suspects = !s.suspects
	case lie:
		s.lies = !s.lies
	case stepClock:
		s.clock += time.Duration(r.IntN(7200)-1800) * time.Second
		s.stepped = w.time
	case restartOne:
		if !s.stopped {
			return w.restart(s, r)
		}
	case stopOne:
		if s.stopped = !s.stopped; !s.stopped {
			return w.restart(s, r)
		}
	case editList:
		w.list[r.IntN(modelMirrors)] = r.IntN(3) > 0
	case otherList: // for a while: a mirror may have come, or gone
		i := 1 + r.IntN(modelMirrors-1)
		s.lacks[i] = !s.lacks[i]
	case failAll: // one after the other
		for _, e := range modelEndpoints {
			for _, s := range w.servers {
				s.seen[e] = 'd'
			}
			if err := w.pass(pause + time.Duration(e.mirror)*modelInterval); err != nil {
				return err
			}
		}
	case passTime:
		pause = time.Duration(r.IntN(120)) * time.Second
	case calm:
		return w.calm()
	}
	return w.pass(pause)
}

// calm heals all, and waits until there is nothing new to hear.
func (w *modelWorld) calm() error {
	w.heal()
	for _, s := range w.servers {
		s.lies, s.lacks = false, [modelMirrors]bool{}
		if s.stopped {
			s.stopped = false
			if err := w.restart(s, w.random); err != nil {
				return err
			}
		}
	}
	if err := w.pass(10 * syncEvery); err != nil { // so that each two have exchanged all, with what was lost before
		return err
	}
	first := w.servers[0]
	for _, s := range w.servers[1:] {
		for _, e := range modelEndpoints {
			if w.decided(e) && s.verdicts[e] != first.verdicts[e] {
				return fmt.Errorf("after a calm %v is %c at %s and %c at %s", e, s.verdicts[e], s.name, first.verdicts[e], first.name)
			}
		}
		if w.apart() || !s.knows(first) || !first.knows(s) {
			continue
		}
		if same := s.snapshot.Content == first.snapshot.Content; same != (s.snapshot.Serial == first.snapshot.Serial) {
			return fmt.Errorf("after a calm %s serves version %d of content %x, and %s version %d of %x", s.name, s.snapshot.Serial,
				s.snapshot.Content, first.name, first.snapshot.Serial, first.snapshot.Content)
		}
	}
	if w.apart() || slices.ContainsFunc(modelEndpoints, func(e modelEndpoint) bool { return !w.decided(e) }) {
		return nil // where nothing is decided, each goes by itself
	}
	for _, s := range w.servers {
		if s.snapshot.Serial != first.snapshot.Serial {
			return fmt.Errorf("after a calm with the same verdicts %s serves version %d, and %s %d", s.name, s.snapshot.Serial,
				first.name, first.snapshot.Serial)
		}
	}
	return nil
}

// knows reports whether a server has heard which version another one serves: where nothing is decided, that one may
// have made it just now.
func (s *modelServer) knows(other *modelServer) bool {
	return s.ZoneVersions()[other.name] == ZoneVersion{Serial: other.snapshot.Serial, Content: other.snapshot.Content}
}

// apart reports whether clocks, or serials that came of them, are so far apart that servers do not follow each other.
func (w *modelWorld) apart() bool {
	const far = 12 * time.Hour // twice that is maxSerialAhead of dnspool
	for _, s := range w.servers {
		ahead := time.Duration(int32(s.lastSerial-uint32(w.time.Unix()))) * time.Second
		if max(ahead, -ahead, s.clock, -s.clock) > far {
			return true
		}
	}
	return false
}

// decided reports whether all that is seen of an endpoint comes to a verdict, and no server holds that back. Those that
// have seen more changes do so earlier.
func (w *modelWorld) decided(e modelEndpoint) bool {
	var said []byte
	for _, s := range w.servers {
		if s.damps(e) {
			return false
		}
		said = append(said, s.says(e))
	}
	return modelRule(said) != '-'
}
