package watch

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mirrorpool/health"
)

// A jury follows the joint verdict on one endpoint, with checks each minute.
type jury struct {
	verdicts jointVerdicts
	now      time.Time
}

func newJury() *jury { return &jury{jointVerdicts{}, time.Unix(1e9, 0)} }

// decide is the endpoint after so much time, and what watchers say, as letters: the first one is the jury's own.
func (j *jury) decide(after time.Duration, letters string) *health.Endpoint {
	j.now = j.now.Add(after)
	var votes []vote
	for i, o := range opinionsFrom(letters) {
		votes = append(votes, vote{fmt.Sprint("w", i), o})
	}
	e := &health.Endpoint{Verdict: health.Verdict{State: votes[0].State}}
	j.verdicts.apply("https://m/", place{}, e, votes, rule{0.5, 3*time.Minute + time.Second, time.Minute}, j.now)
	return e
}

// TestFlicker: watchers that come and go change no verdict, though it would be another one without them.
func TestFlicker(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ all, some string }{
		{"ddu" + "u", "ddu" + "-"},
		{"udd" + "u", "udd" + "-"},
		{"uud" + "d" + "d", "uud" + "-" + "d"},
		{"ud" + "u", "ud" + "-"},
		{"du" + "d", "du" + "-"},
		{"uDdu" + "u", "uDdu" + "-"},
		{"d" + "uu", "d"},
		{"u" + "dd", "u"},
		{"d" + "uu", "d" + "--"},
		{"uuu" + "dd", "--" + "udd"},
	} {
		j := newJury()
		want := j.decide(0, test.all).State
		for minute := range 120 {
			letters := test.all
			if minute%3 != 0 { // gone for two intervals of three
				letters = test.some
			}
			if got := j.decide(time.Minute, letters).State; got != want {
				t.Errorf("%s and %s by turns: %v after %d minutes, and first %v", test.all, test.some, got, minute+1, want)
				break
			}
		}
		// One that is gone for good is not waited for.
		decided := Decide(opinionsFrom(test.some), 0.5)
		for range 5 {
			if got := j.decide(time.Minute, test.some).State; decided != health.Unknown {
				want = got
			}
		}
		if decided != health.Unknown && want != decided {
			t.Errorf("%s after %s: %v, want %v", test.some, test.all, want, decided)
		}
	}
}

// TestAbsenceDelaysNothing: where a watcher goes while another one sees something new, that counts at once.
func TestAbsenceDelaysNothing(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		before, after string
		want          health.State
	}{
		{"uuu", "dd-", health.Down},
		{"ddd", "uu-", health.Up},
		{"dduu", "ddd-", health.Down},
		{"uuduu", "uSSu-", health.Stale},
		{"uudd", "uuDD", health.Down}, // as many, but now with evidence
		{"uDu", "ddu", health.Down},   // fewer with evidence, but all are there
		{"uDu", "d-d", health.Down},
		{"uSu", "ssu", health.Stale},
		{"uudD", "uddd", health.Down},
		{"dduu", "--dd", health.Down}, // as many, but others
		{"uuuddd", "ddd---", health.Down},
		{"uuuddd", "d--ddd", health.Down},
	} {
		j := newJury()
		j.decide(0, test.before)
		if got := j.decide(time.Second, test.after).State; got != test.want {
			t.Errorf("%s and then %s: %v, want %v", test.before, test.after, got, test.want)
		}
	}
}

// TestAloneAtOnce: a watcher that has just come to be alone goes at once by what it has seen change, and for the rest
// by what was decided, for three intervals.
func TestAloneAtOnce(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		changed time.Duration // after the last decision
		after   time.Duration
		want    health.State
	}{
		{-time.Hour, time.Second, health.Up},
		{0, 3 * time.Minute, health.Up},
		{0, 4 * time.Minute, health.Down},
		{-2 * time.Hour, -time.Hour, health.Down}, // the clock was set back
		{time.Second, time.Second, health.Down},
	} {
		j := newJury()
		j.decide(0, "duu")
		e := &health.Endpoint{Verdict: health.Verdict{State: health.Down, Since: j.now.Add(test.changed)}}
		votes := []vote{{"w0", opinionsFrom("d")[0]}}
		j.verdicts.apply("https://m/", place{}, e, votes, rule{0.5, 3*time.Minute + time.Second, time.Minute}, j.now.Add(test.after))
		if e.State != test.want {
			t.Errorf("down since %v after the decision, and %v after it: %v, want %v", test.changed, test.after, e.State, test.want)
		}
	}
}

// TestJointFlapping: a joint verdict that changes all the time, though no watcher's own does so often, stays down until
// the votes come to up for ten intervals.
func TestJointFlapping(t *testing.T) {
	t.Parallel()
	j := newJury()
	changes, last := 0, j.decide(0, "uuu").State
	var e *health.Endpoint
	for i := range 30 {
		e = j.decide(time.Minute, [...]string{"udd", "udu", "ddu", "uud"}[i%4])
		changes += count(e.State != last)
		last = e.State
	}
	if changes != maxChanges+1 || last != health.Down || !strings.HasPrefix(e.Reason, "flapping: ") {
		t.Errorf("in half an hour it changed %d times, and is %v: %s", changes, last, e.Reason)
	}
	last = j.decide(time.Minute, "udd").State
	if n := len(j.verdicts["https://m/"][place{}].changes); n > maxChanges {
		t.Errorf("%d changes are remembered", n)
	}
	for minute := 0; last != health.Up; minute++ {
		if last = j.decide(time.Minute, "uuu").State; (last == health.Up) != (minute >= changeCalm) || minute > 20 {
			t.Fatalf("%v after %d minutes of calm", last, minute)
		}
	}
	for range 60 {
		j.decide(time.Minute, "uuu")
	}
	if j.decide(time.Minute, "udd"); j.decide(time.Minute, "uuu").State != health.Up {
		t.Error("it is held for flapping an hour after")
	}
}

// TestChangesLeaveTheWindow: changes count for flapping at once, and for less than an hour.
func TestChangesLeaveTheWindow(t *testing.T) {
	t.Parallel()
	now := time.Unix(1e9, 0)
	for _, age := range []time.Duration{0, changeWindow - 1, changeWindow} {
		last := joint{state: health.Down, changes: slices.Repeat([]time.Time{now.Add(-age)}, maxChanges)}
		next := joint{state: health.Up}
		if next.damp(&last, now, time.Minute); (next.state == health.Up) != (age == changeWindow) {
			t.Errorf("%d changes %v ago: %v", maxChanges, age, next.state)
		}
	}
}
