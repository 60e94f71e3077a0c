package watch

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"mirrorpool/health"
)

// TestSavedJoints: a watcher that starts again goes on as if it had not stopped, whatever is voted before and after.
func TestSavedJoints(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	letters := func() (list string) {
		for range 1 + r.IntN(5) {
			list += string("uuuddDsS-"[r.IntN(9)])
		}
		return list
	}
	for range 300 {
		first := newJury()
		for range 1 + r.IntN(20) {
			first.decide(time.Duration(r.IntN(300))*time.Second, letters())
		}
		text, err := first.verdicts.encode()
		if err != nil {
			t.Fatal(err)
		}
		loaded, err := decodeJoints(text)
		if err != nil {
			t.Fatal(err)
		}
		second := &jury{loaded, first.now}
		for range 30 {
			after, votes := time.Duration(r.IntN(300))*time.Second, letters()
			want, got := first.decide(after, votes), second.decide(after, votes)
			if got.Since.Equal(want.Since) && got.JointPassed.Equal(want.JointPassed) {
				got.Since, got.JointPassed = want.Since, want.JointPassed // times that are equal have many forms
			}
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("%s after %v: %+v, want %+v", votes, after, got, want)
			}
		}
	}
}

// TestSavedState: what is damaged, or says nothing, is not taken in.
func TestSavedState(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "joint-verdicts")
	j := newJury()
	j.decide(0, "uDD")
	core, logs := observer.New(zap.WarnLevel)
	load := func() int {
		g := &Group{o: Options{Log: zap.New(core)}, joints: jointVerdicts{}}
		g.LoadState(path)
		if g.joints == nil {
			t.Error("there is no room for verdicts to come")
		}
		return len(g.joints)
	}
	if got := load(); got != 0 || logs.Len() != 0 {
		t.Errorf("without a file, %d verdicts and the log %v", got, logs.All())
	}
	saver := &Group{o: Options{Log: zap.New(core)}, joints: j.verdicts}
	for range 2 { // nothing stays locked
		saver.SaveState(path)
	}
	if got := load(); got != 1 || logs.Len() != 0 {
		t.Errorf("%d verdicts of one, and the log %v", got, logs.All())
	}
	for name, v := range map[string]joint{
		"no state":    {decided: health.Up},
		"no decision": {state: health.Up},
	} {
		(&Group{o: Options{Log: zap.New(core)}, joints: jointVerdicts{"https://m/": {place{}: v}}}).SaveState(path)
		if got := load(); got != 0 || logs.TakeAll() == nil {
			t.Errorf("%s: %d verdicts, and nothing is logged", name, got)
		}
	}
	for name, write := range map[string]func() error{
		"damaged":       func() error { return os.WriteFile(path, []byte("mirrorpool-joint-verdicts 1\n"), 0o600) },
		"no JSON":       func() error { return jointFormat.Replace(path, []byte("{")) },
		"no such state": func() error { return jointFormat.Replace(path, []byte(`{"https://m/":[{"state":"fine"}]}`)) },
	} {
		if err := write(); err != nil {
			t.Fatal(err)
		}
		if got := load(); got != 0 || logs.TakeAll() == nil {
			t.Errorf("%s: %d verdicts, and nothing is logged", name, got)
		}
	}
	(&Group{o: Options{Log: zap.New(core)}, joints: j.verdicts}).SaveState(filepath.Join(path, "below-a-file"))
	if logs.TakeAll() == nil {
		t.Error("nothing is logged where nothing can be saved")
	}
}

// TestClockSetBackOverRestart: a clock that is set back between two runs, or within one, does not keep a mirror out
// until it has caught up, nor are all verdicts lost because of it.
func TestClockSetBackOverRestart(t *testing.T) {
	t.Parallel()
	j := newJury()
	for i := range 30 {
		j.decide(time.Minute, [...]string{"udd", "udu"}[i%2])
	}
	if j.decide(0, "uuu").State != health.Down {
		t.Fatal("it is not flapping")
	}
	restart := func() {
		text, err := j.verdicts.encode()
		if err != nil {
			t.Fatal(err)
		}
		if j.verdicts, err = decodeJoints(text); err != nil {
			t.Fatal(err)
		}
	}
	restart()
	j.decide(-2*time.Hour, "uuu")
	for range changeCalm {
		j.decide(time.Minute, "uuu")
	}
	if state := j.decide(time.Minute, "uuu").State; state != health.Up {
		t.Errorf("%v after %d minutes of calm", state, changeCalm+1)
	}
	j = newJury()
	j.decide(0, "uuu")
	j.decide(time.Minute, "udd")
	j.decide(-time.Hour, "uuu")
	restart()
}

// TestPassedCanBeSaved: no member keeps verdicts from being saved by a time that JSON cannot have, and no clock does.
func TestPassedCanBeSaved(t *testing.T) {
	t.Parallel()
	const prefix = "https://mirror1.example.net/project/"
	for _, passed := range []int64{math.MinInt64, -1, latestPassed + 1, math.MaxInt64} {
		now := time.Now()
		g := newGroupOf(t, func() time.Time { return now }, "ams", "nyc")
		r := largeReport(3)
		r.At = now
		r.Mirrors[prefix].Endpoints[0].State, r.Mirrors[prefix].Endpoints[0].Since = health.Down, time.Unix(-1, 0)
		for _, watcher := range []string{"ams", "nyc"} {
			v := &View{Watcher: watcher, Count: 7, Complete: 7, Changes: 7, Mirrors: map[string]Opinions{}}
			for prefix, m := range r.Mirrors {
				v.Mirrors[prefix] = Opinions{Count: 7, List: opinionsOf(&m)}
			}
			if !g.take(v.text()) {
				t.Errorf("passed at %d: refused what %s says", passed, watcher)
			}
			v.Count, v.Mirrors[prefix].List[0].Passed = 8, passed
			if g.take(v.text()) {
				t.Errorf("passed at %d: taken", passed)
			}
		}
		g.Apply(r)
		if _, err := g.joints.encode(); err != nil || r.Mirrors[prefix].Endpoints[0].State != health.Down {
			t.Errorf("passed at %d: %v", passed, err)
		}
	}
}

// TestOldAddressesAreDropped: what was decided of addresses is not kept for good, and not saved, where a mirror has
// other ones at each look-up. One that is missing for a moment is remembered.
func TestOldAddressesAreDropped(t *testing.T) {
	t.Parallel()
	const prefix = "https://mirror1.example.net/project/"
	now := time.Now()
	g := newGroupOf(t, func() time.Time { return now }, "ams", "nyc")
	turn := func(after time.Duration, address netip.Addr) {
		now = now.Add(after)
		r := largeReport(3)
		r.At = now
		r.Mirrors[prefix].Endpoints[0].Address = address
		for _, watcher := range []string{"ams", "nyc"} {
			n := uint64(now.UnixNano())
			v := &View{Watcher: watcher, Count: n, Complete: n, Changes: n, Mirrors: map[string]Opinions{}}
			for prefix, m := range r.Mirrors {
				v.Mirrors[prefix] = Opinions{Count: n, List: opinionsOf(&m)}
			}
			g.take(v.text())
		}
		g.Apply(r)
	}
	first := netip.AddrFrom4([4]byte{192, 0, 2, 0})
	turn(0, first)
	known := len(g.joints[prefix])
	turn(g.young, netip.AddrFrom4([4]byte{192, 0, 2, 1}))
	if _, ok := g.joints[prefix][place{first, health.HTTP}]; !ok || len(g.joints[prefix]) != known+1 {
		t.Errorf("after a moment %d verdicts, at first %d", len(g.joints[prefix]), known)
	}
	for i := range 100 {
		turn(g.young/3, netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}))
	}
	if n := len(g.joints[prefix]); n > known+3 {
		t.Errorf("%d verdicts are kept, at first %d", n, known)
	}
}
