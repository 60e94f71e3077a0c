package health

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

var policy = Policy{Interval: 30 * time.Second, Timeout: 10 * time.Second, Rise: 2, Fall: 3}

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// letters are results in the notation of these tests.
const letters = "?usd"

func result(t testing.TB, letter rune) State {
	t.Helper()
	i := strings.IndexRune(letters, letter)
	if i < 0 {
		t.Fatalf("unknown state %q", letter)
	}
	return State(i)
}

// play feeds observations, an interval apart, to a new verdict and returns the states that it goes through.
func play(t testing.TB, results string, p Policy) (states string, v Verdict) {
	t.Helper()
	for i, letter := range results {
		o := Observation{At: epoch.Add(time.Duration(i) * p.Interval), Took: time.Second, Result: result(t, letter)}
		if o.Result != Up {
			o.Reason = "connect: number " + fmt.Sprint(i)
		}
		v = v.Next(o, p)
		states += letters[v.State : v.State+1]
	}
	return states, v
}

func TestNext(t *testing.T) {
	for _, test := range []struct{ name, seen, want string }{
		{"the first observation decides", "u", "u"},
		{"the first observation decides against", "d", "d"},
		{"the first observation is stale", "s", "s"},
		{"nothing can be said", "??", "??"},
		{"up after a blind start", "?u", "?u"},
		{"fall failures", "uddd", "uuud"},
		{"a pass forgives", "uddudd", "uuuuuu"},
		{"different failures add up", "udsd", "uuud"},
		{"and the last one names the state", "udds", "uuus"},
		{"rise passes", "duu", "ddu"},
		{"a failure between passes", "duduu", "ddddu"},
		{"stale for long", "usss", "uuus"},
		{"from stale up", "suu", "ssu"},
		{"from stale down", "sddd", "sssd"},
		{"from down to stale", "dss", "dds"},
		{"from down over stale to up", "dssuu", "ddssu"},
		{"mixed passes are no run", "dusus", "ddddd"},
		{"our own fault is no reason to leave up at once", "u??u", "uuuu"},
		{"but it is in the end", "u???", "uuu?"},
		{"an inconclusive probe is no failure", "u??dd?d", "uuuuuud"},
		{"and forgives none", "ud?d?d", "uuuuud"},
		{"after our outage, up is up", "u???u", "uuu?u"},
		{"after our outage, one failure does not condemn", "u???dd", "uuu???"},
		{"after our outage, fall failures do", "u???ddd", "uuu???d"},
		{"after our outage, down is not pardoned", "d???u", "ddd??"},
		{"after our outage, rise passes do", "d???uu", "ddd??u"},
		{"after our outage, down is down", "d???d", "ddd?d"},
	} {
		got, v := play(t, test.seen, policy)
		if got != test.want {
			t.Errorf("%s: seeing %s goes through %s, want %s", test.name, test.seen, got, test.want)
		}
		if v.State != Unknown && v.From != Unknown {
			t.Errorf("%s: %v, and still remembers that it was %v before it was unknown", test.name, v.State, v.From)
		}
	}
}

func TestNextKeepsTheReasonWithTheState(t *testing.T) {
	_, v := play(t, "udd", policy)
	if v.State != Up || !v.InDoubt() || v.Reason != "connect: number 2" || !v.Since.Equal(epoch) {
		t.Errorf("in doubt: %+v, want up, for the latest failure's reason, since the start", v)
	}
	_, v = play(t, "uddd", policy)
	if v.InDoubt() || v.Reason != "connect: number 3" || !v.Since.Equal(epoch.Add(3*policy.Interval)) {
		t.Errorf("down: %+v, want the last reason, since the third failure", v)
	}
	_, v = play(t, "udddu", policy)
	if v.State != Down || v.Reason != "connect: number 3" {
		t.Errorf("down with a pass: %q, want the reason why it went down", v.Reason)
	}
	_, v = play(t, "udddddd", policy)
	if v.Reason != "connect: number 6" {
		t.Errorf("down for long: %q, want the latest reason", v.Reason)
	}
	if _, v = play(t, "udu", policy); v.Reason != "" || v.InDoubt() {
		t.Errorf("out of doubt: %+v, want no reason", v)
	}
}

// TestNextRemembers has what one probe saw, and the next one did not.
func TestNextRemembers(t *testing.T) {
	var v Verdict
	for i, o := range []Observation{
		{At: epoch, Result: Unknown, Trace: epoch, CertExpires: epoch.Add(time.Hour)},
		{At: epoch.Add(time.Minute), Result: Unknown},
	} {
		if v = v.Next(o, policy); !v.Since.Equal(epoch) || !v.Trace.Equal(epoch) || !v.CertExpires.Equal(epoch.Add(time.Hour)) {
			t.Errorf("after probe %d: %+v, want it unknown since the first, and what that one saw", i, v)
		}
	}
}

func TestNextFlapDamping(t *testing.T) {
	// Seven changes within the hour: up and down three times, and down once more.
	changes := "u" + strings.Repeat("ddduu", 3) + "ddd"
	states, v := play(t, changes, policy)
	if !strings.HasSuffix(states, "d") || !v.Flapping(v.Checked) {
		t.Fatalf("after %s: %s, flapping %v", changes, states, v.Flapping(v.Checked))
	}
	states, v = play(t, changes+strings.Repeat("u", flapCalm), policy)
	if v.State != Down || v.Reason != flapping {
		t.Errorf("after 9 intervals of passes: %v, %q, want down because it flaps", v.State, v.Reason)
	}
	_, v = play(t, changes+strings.Repeat("u", flapCalm+1), policy)
	if v.State != Up {
		t.Errorf("after 10 intervals of passes: %v, want up", v.State)
	}
	_, v = play(t, changes+strings.Repeat("u", flapCalm)+"d"+strings.Repeat("u", flapCalm), policy)
	if v.State != Down {
		t.Errorf("after a failure during the calm: %v, want down for 10 intervals more", v.State)
	}
	// Without a seventh change it is no flapping.
	if _, v = play(t, "u"+strings.Repeat("ddduu", 3), policy); v.State != Up {
		t.Errorf("six changes: %v, want up (%s)", v.State, states)
	}
	// Our own outages are not the mirror's changes.
	if _, v = play(t, "u"+strings.Repeat("???u", 8)+"ddduu", policy); v.State != Up {
		t.Errorf("after outages of our own: %v, want up", v.State)
	}
}

// TestFlapping has an endpoint that changed six times, a minute apart.
func TestFlapping(t *testing.T) {
	v := Verdict{Changes: new([flapChanges]time.Time)}
	for i := range v.Changes {
		v.Changes[i] = epoch.Add(time.Duration(i) * time.Minute)
	}
	for after, want := range map[time.Duration]bool{flapWindow - 1: true, flapWindow: false} {
		if got := v.Flapping(epoch.Add(after)); got != want {
			t.Errorf("%v after the first of six changes: flapping %v, want %v", after, got, want)
		}
	}
	v.Changes[0] = time.Time{}
	if v.Flapping(epoch.Add(5 * time.Minute)) {
		t.Error("flapping after five changes")
	}
}

// TestVerdictsShareNoChange: the next verdict is another one, and the one before it stays as it was.
func TestVerdictsShareNoChange(t *testing.T) {
	p := Policy{Interval: time.Minute, Timeout: time.Second, Rise: 1, Fall: 1}
	var v Verdict
	for i, result := range []State{Up, Down, Up} {
		before, changes := v, [flapChanges]time.Time{}
		if v.Changes != nil {
			changes = *v.Changes
		}
		v = v.Next(Observation{At: epoch.Add(time.Duration(i) * time.Minute), Result: result}, p)
		if (i == 0) != (v.Changes == nil) {
			t.Errorf("%d: changes %v", i, v.Changes)
		}
		if before.Changes != nil && *before.Changes != changes {
			t.Errorf("%d: the verdict before has changed: %v, was %v", i, *before.Changes, changes)
		}
	}
}

// FuzzNext plays any sequence of observations and holds the verdict to what it promises.
func FuzzNext(f *testing.F) {
	f.Add([]byte("uuddduudduss??duu"), uint8(2), uint8(3))
	f.Add([]byte("udududududud"), uint8(1), uint8(1))
	f.Add([]byte("d??u?u"), uint8(2), uint8(1))
	f.Fuzz(func(t *testing.T, seen []byte, rise, fall uint8) {
		p := policy
		p.Rise, p.Fall = int(rise%5)+1, int(fall%5)+1
		var v Verdict
		var results []State
		last := Unknown // the last state that was not Unknown
		for i, b := range seen {
			o := Observation{At: epoch.Add(time.Duration(i) * time.Duration(b) * time.Second), Result: State(b % 4)}
			if o.At.Before(v.Checked) {
				o.At = v.Checked
			}
			if o.Result != Up {
				o.Reason = "body: " + letters[b%4:b%4+1]
			}
			results = append(results, o.Result)
			next := v.Next(o, p)
			checkStep(t, &v, &next, results, last, p)
			v = next
			if v.State != Unknown {
				last = v.State
			}
		}
	})
}

// checkStep checks one step of a verdict, from before to after, as the last one of results was seen. last
// is what before was when anything was known.
func checkStep(t *testing.T, before, after *Verdict, results []State, last State, p Policy) {
	t.Helper()
	n := len(results)
	tail := func(k int) []State { return results[max(0, n-k):] }
	switch {
	case last != Unknown && last != Up && after.State == Up:
		if len(tail(p.Rise)) < p.Rise || slices.ContainsFunc(tail(p.Rise), func(s State) bool { return s != Up }) {
			t.Fatalf("%v: up after %v, want %d passes", results, last, p.Rise)
		}
	case before.State == Up && after.State == Down && after.Unsteady:
		if failures := after.Failures(); failures <= maxFailures {
			t.Fatalf("%v: left up as unsteady after %d failed checks, want over %d", results, failures, maxFailures)
		}
	case before.State == Up && after.State != Up:
		if len(tail(p.Fall)) < p.Fall || slices.Contains(tail(p.Fall), Up) {
			t.Fatalf("%v: left up, want %d failures", results, p.Fall)
		}
	}
	switch {
	case after.State != before.State && (!after.Since.Equal(after.Checked) || after.State != results[n-1]):
		t.Fatalf("%v: became %v since %v, checked %v", results, after.State, after.Since, after.Checked)
	case after.State == before.State && !before.Since.IsZero() && !after.Since.Equal(before.Since):
		t.Fatalf("%v: since moved from %v to %v without a change", results, before.Since, after.Since)
	case (after.Reason == "") != (after.State == Up && !after.InDoubt() && after.Inconclusive == 0):
		t.Fatalf("%v: %v, in doubt %v, for reason %q", results, after.State, after.InDoubt(), after.Reason)
	case after.State != Unknown && after.From != Unknown:
		t.Fatalf("%v: %v, and was %v before it was unknown", results, after.State, after.From)
	}
	for _, wait := range []time.Duration{after.Wait(p), after.Patience(p)} {
		if wait <= 0 || wait > maxBackoff*p.Interval {
			t.Fatalf("%v: the next probe waits or may take %v", results, wait)
		}
	}
	if soon := after.DecidesIn(p); (soon > 0) != after.InDoubt() {
		t.Fatalf("%v: decides in %v, in doubt %v", results, soon, after.InDoubt())
	}
}

func TestWait(t *testing.T) {
	checked := epoch.Add(time.Hour)
	for _, test := range []struct {
		name string
		v    Verdict
		want time.Duration
	}{
		{"never checked", Verdict{}, 0},
		{"up", Verdict{State: Up, Checked: checked}, 30 * time.Second},
		{"in doubt after a quick failure", Verdict{State: Up, Count: 1, Checked: checked}, 2 * time.Second},
		{"in doubt after a slow failure", Verdict{State: Up, Count: 1, Checked: checked, Latency: 10 * time.Second},
			200 * time.Millisecond},
		{"in doubt behind an outage of ours", Verdict{From: Up, Count: 1, Checked: checked}, 2 * time.Second},
		{"an inconclusive probe", Verdict{State: Up, Inconclusive: 1, Checked: checked}, 30 * time.Second},
		{"an inconclusive probe after a failure", Verdict{State: Up, Inconclusive: 1, Count: 1, Checked: checked}, 30 * time.Second},
		{"just gone down", Verdict{State: Down, Since: checked, Checked: checked}, 30 * time.Second},
		{"down for 10 minutes", Verdict{State: Down, Since: checked.Add(-10 * time.Minute), Checked: checked}, 150 * time.Second},
		{"down for an hour", Verdict{State: Down, Since: checked.Add(-time.Hour), Checked: checked}, 5 * time.Minute},
		{"coming back", Verdict{State: Down, Count: 1, Pending: Up, Since: checked.Add(-time.Hour), Checked: checked},
			30 * time.Second},
		{"stale", Verdict{State: Stale, Checked: checked}, 30 * time.Second},
	} {
		if got := test.v.Wait(policy); got != test.want {
			t.Errorf("%s: waits %v, want %v", test.name, got, test.want)
		}
	}
}

// TestHesitationIsLookedAtOutOfStep: after a check that hesitated the next one comes at another phase.
func TestHesitationIsLookedAtOutOfStep(t *testing.T) {
	t.Parallel()
	waits := map[time.Duration]bool{}
	for i := range 20 {
		v := Verdict{State: Up, Since: epoch, Checked: epoch.Add(time.Duration(i) * 7_234_567_891), Rate: Rate{Hesitated: 1}}
		wait := v.Wait(policy)
		if wait < policy.Interval/2 || wait >= policy.Interval {
			t.Errorf("waits %v", wait)
		}
		waits[wait] = true
	}
	if len(waits) < 16 {
		t.Errorf("only %d different pauses", len(waits))
	}
	if v := (Verdict{State: Up, Since: epoch, Checked: epoch, Rate: Rate{Hesitated: 2}}); v.Wait(policy) != policy.Interval {
		t.Errorf("one check later it waits %v", v.Wait(policy))
	}
}

func TestPatience(t *testing.T) {
	for _, test := range []struct {
		name string
		v    Verdict
		want time.Duration
	}{
		{"up", Verdict{State: Up, Usual: time.Second}, 10 * time.Second},
		{"in doubt", Verdict{State: Up, Count: 1, Usual: 100 * time.Millisecond}, 3 * time.Second},
		{"in doubt, slow by habit", Verdict{State: Up, Count: 1, Usual: 2 * time.Second}, 8 * time.Second},
		{"in doubt, very slow by habit", Verdict{State: Up, Count: 1, Usual: 5 * time.Second}, 10 * time.Second},
		{"in doubt, of unknown habit", Verdict{State: Up, Count: 1}, 10 * time.Second},
		{"down", Verdict{State: Down, Usual: time.Millisecond}, 10 * time.Second},
	} {
		if got := test.v.Patience(policy); got != test.want {
			t.Errorf("%s: may take %v, want %v", test.name, got, test.want)
		}
	}
	// A peak is remembered over some quicker answers.
	var v Verdict
	for i, took := range []time.Duration{2 * time.Second, 100 * time.Millisecond, 100 * time.Millisecond} {
		v = v.Next(Observation{At: epoch.Add(time.Duration(i) * time.Minute), Took: took, Result: Up}, policy)
	}
	if v.Usual < time.Second {
		t.Errorf("usual latency %v after a peak of 2s, want more than 1s", v.Usual)
	}
}

func TestDecidesIn(t *testing.T) {
	_, v := play(t, "u", policy)
	if got := v.DecidesIn(policy); got != 0 {
		t.Errorf("not in doubt: settles in %v", got)
	}
	for i, want := range []time.Duration{2 * time.Second, time.Second} {
		_, v = play(t, "u"+strings.Repeat("d", i+1), policy)
		if got := v.DecidesIn(policy); got != want { // each look took 1 s, so the pause is 1 s
			t.Errorf("after %d failures: settles in %v, want %v", i+1, got, want)
		}
	}
}

func TestAt(t *testing.T) {
	v := Verdict{State: Down, Reason: "tls: timed out", Since: epoch, Checked: epoch.Add(time.Minute), Pending: Up, Count: 1}
	if got := v.At(epoch.Add(2*time.Minute), time.Minute); got != v {
		t.Errorf("young: %+v, want it unchanged", got)
	}
	got := v.At(epoch.Add(121*time.Second), time.Minute)
	if got.State != Unknown || got.From != Down || got.Reason != "last checked 1m1s ago" ||
		!got.Since.Equal(epoch.Add(2*time.Minute)) {
		t.Errorf("old: %+v, want unknown since its limit", got)
	}
	if got.Count != 0 || got.Pending != Unknown {
		t.Errorf("old: %d observations still speak for %v", got.Count, got.Pending)
	}
}

// cycle is a life of passes, failures, staleness and flapping.
var cycle = func() []Observation {
	var seen []Observation
	for i, letter := range strings.Repeat("uuudddddusssu???uu", 6) {
		seen = append(seen, Observation{At: epoch.Add(time.Duration(i) * 10 * time.Second), Took: time.Second,
			Result: State(strings.IndexRune(letters, letter)), Reason: "connect: timed out"})
	}
	return seen
}()

func TestNextAllocatesNothing(t *testing.T) {
	var v Verdict
	i := 0
	if n := testing.AllocsPerRun(1000, func() {
		v = v.Next(cycle[i%len(cycle)], policy)
		i++
	}); n != 0 {
		t.Errorf("Next allocates %v times", n)
	}
}

func BenchmarkNext(b *testing.B) {
	var v Verdict
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		v = v.Next(cycle[i], policy)
		if i++; i == len(cycle) {
			i = 0
		}
	}
}

// TestUsual has the longest latency of late remembered, and forgotten by and by.
func TestUsual(t *testing.T) {
	for _, test := range []struct{ usual, took, want time.Duration }{
		{0, 300 * time.Millisecond, 300 * time.Millisecond},
		{800 * time.Millisecond, 0, 700 * time.Millisecond},
		{800 * time.Millisecond, 400 * time.Millisecond, 750 * time.Millisecond},
		{800 * time.Millisecond, 900 * time.Millisecond, 900 * time.Millisecond},
	} {
		v := Verdict{State: Up, Usual: test.usual}
		if got := v.Next(Observation{Result: Up, Took: test.took}, Policy{Rise: 2, Fall: 3}).Usual; got != test.want {
			t.Errorf("%v usual, then %v: %v, want %v", test.usual, test.took, got, test.want)
		}
		if got := v.Next(Observation{Result: Down, Took: test.took}, Policy{Rise: 2, Fall: 3}).Usual; got != test.usual {
			t.Errorf("%v usual, then a failure: %v", test.usual, got)
		}
	}
}

// TestNextStarved has a host that is too busy to tell why checks time out.
func TestNextStarved(t *testing.T) {
	v := Verdict{}.Next(Observation{At: epoch, Result: Up}, policy)
	starved := Observation{Result: Unknown, Cause: CauseLocal, Late: time.Second, Reason: "tls: timed out, and this host is too busy to tell why"}
	for i := range starvedFall*policy.Fall - 1 {
		starved.At = epoch.Add(time.Duration(i+1) * policy.Interval)
		if v = v.Next(starved, policy); v.State != Up || v.Reason != starved.Reason || v.InDoubt() {
			t.Fatalf("check %d: %v, %q", i+1, v.State, v.Reason)
		}
	}
	if passed := v.Next(Observation{At: starved.At, Result: Up}, policy); passed.Inconclusive != 0 || passed.Reason != "" {
		t.Errorf("after it passed: %+v", passed)
	}
	if v = v.Next(starved, policy); v.State != Unknown || v.ForSelection() != Unknown {
		t.Errorf("in the end: %v", v.State)
	}
}

// TestEvident: old content is evidence, and of a mirror that is down what the latest check says.
func TestEvident(t *testing.T) {
	t.Parallel()
	seen := Verdict{}.Next(Observation{At: epoch, Result: Down, Evidence: true}, policy)
	notSeen := seen.Next(Observation{At: epoch.Add(time.Second), Result: Down}, policy)
	for _, test := range []struct {
		verdict Verdict
		want    bool
	}{
		{seen, true}, {notSeen, false}, {Verdict{State: Stale}, true}, {Verdict{State: Down}, false},
		{Verdict{State: Up, Evidence: true}, false}, {Verdict{State: Unknown, Evidence: true}, false}, {Verdict{}, false},
	} {
		if got := test.verdict.Evident(); got != test.want {
			t.Errorf("%v, evidence %v: %v", test.verdict.State, test.verdict.Evidence, got)
		}
	}
}
