package health

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// An uptime is a mirror that fails, or hesitates, at random or by the clock: it says what a check at a time sees.
type uptime func(at time.Time) (result State, took time.Duration)

// live has a mirror checked for a while as the checker would, and calls each after every check.
func live(p Policy, mirror uptime, d time.Duration, each func(v *Verdict)) {
	var v Verdict
	for now := epoch; now.Before(epoch.Add(d)); {
		result, took := mirror(now)
		now = now.Add(took)
		v = v.Next(Observation{At: now, Took: took, Result: result, Reason: "connect: timed out"}, p)
		each(&v)
		now = now.Add(v.Wait(p))
	}
}

// failing is a mirror that fails a share of its checks.
func failing(share float64, r *rand.Rand) uptime {
	return func(time.Time) (State, time.Duration) {
		if r.Float64() < share {
			return Down, 20 * time.Millisecond
		}
		return Up, 20 * time.Millisecond
	}
}

// weight is how much of a mirror's weight counts.
func weight(v *Verdict) float64 {
	if v.State != Up {
		return 0
	}
	return v.Share()
}

// TestRates has many mirrors that fail now and then, and averages how much of their weight counts.
func TestRates(t *testing.T) {
	t.Parallel()
	const mirrors = 400
	for _, test := range []struct {
		fails    float64
		after, d time.Duration // of d, what follows after
		min, max float64
	}{
		{0, 0, time.Hour, 1, 1},
		{0.01, 0, 12 * time.Hour, 0.97, 1},
		{0.3, 9 * policy.Interval, 10 * policy.Interval, 0, 1. / 3},
		{0.3, 10 * policy.Interval, time.Hour, 0, 0.1},
		{0.5, 10 * policy.Interval, time.Hour, 0, 0.1},
	} {
		r := rand.New(rand.NewPCG(1, 2))
		sum, n := 0.0, 0
		for range mirrors {
			live(policy, failing(test.fails, r), test.d, func(v *Verdict) {
				if v.Checked.Sub(epoch) >= test.after {
					sum, n = sum+weight(v), n+1
				}
			})
		}
		if got := sum / float64(n); got < test.min || got > test.max {
			t.Errorf("a mirror that fails %.0f %% of its checks has %.3f of its weight between %v and %v, want %.2f to %.2f",
				100*test.fails, got, test.after, test.d, test.min, test.max)
		}
	}
}

// TestHangsNowAndThen has a mirror that hangs for a second of every four, with checks every second.
func TestHangsNowAndThen(t *testing.T) {
	t.Parallel()
	p := Policy{Interval: time.Second, Timeout: 2 * time.Second, Rise: 2, Fall: 3}
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 0))
		mirror := func(at time.Time) (State, time.Duration) {
			jitter := time.Duration(r.Int64N(int64(time.Second))) // checks do not keep step with it
			if in := at.Add(jitter).Sub(epoch) % (4 * time.Second); in < time.Second && at.After(epoch) {
				return Up, time.Second - in + 20*time.Millisecond
			}
			return Up, 20 * time.Millisecond
		}
		noticed := false
		live(p, mirror, time.Minute, func(v *Verdict) {
			noticed = noticed || v.State == Up && v.Share() < 1 && strings.HasPrefix(v.Rate.Warning(), "hangs now and then: ")
		})
		if !noticed {
			t.Errorf("seed %d: a mirror that hangs for 1 s of every 4 is not noticed within a minute", seed)
		}
	}
}

// TestSlowIsNotHanging has mirrors that always need long, or have become slow for good.
func TestSlowIsNotHanging(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	took := func(base time.Duration) time.Duration { return base + time.Duration(r.Int64N(int64(base))) }
	for name, mirror := range map[string]uptime{
		"always": func(time.Time) (State, time.Duration) { return Up, took(2 * time.Second) },
		"since an hour ago": func(at time.Time) (State, time.Duration) {
			if at.Before(epoch.Add(time.Hour)) {
				return Up, took(100 * time.Millisecond)
			}
			return Up, took(2 * time.Second)
		},
	} {
		var last Verdict
		live(policy, mirror, 2*time.Hour, func(v *Verdict) { last = *v })
		if last.State != Up || last.Share() != 1 {
			t.Errorf("%s slow: %v, %.2f of its weight, %q", name, last.State, last.Share(), last.Rate.Warning())
		}
	}
}

func TestUnsteady(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, seen, want, reason string }{
		{"five failures among passes", "ududududud", "uuuuuuuuud",
			"unsteady: 5 of the latest 20 checks failed, no more than 2 may; the latest: connect: number 9"},
		{"not calm yet", "ududududud" + strings.Repeat("u", 10), "uuuuuuuuud" + strings.Repeat("d", 10),
			"unsteady: 5 of the latest 20 checks failed, no more than 2 may"},
		{"calm", "ududududud" + strings.Repeat("u", 16), "uuuuuuuuud" + strings.Repeat("d", 15) + "u", ""},
		{"outages count for nothing", "u" + strings.Repeat("ddduuuuuuuuu", 3), "u" + strings.Repeat("uudduuuuuuuu", 3), ""},
		{"a run that ends the doubt with the fifth failure", "uduuduuddd", "uuuuuuuuud", "connect: number 9"},
		{"a run that ends the doubt", "uuduuuddd", "uuuuuuuud", "connect: number 8"},
	} {
		got, v := play(t, test.seen, policy)
		if got != test.want || v.Reason != test.reason {
			t.Errorf("%s: seeing %s goes through %s, %q; want %s, %q", test.name, test.seen, got, v.Reason, test.want, test.reason)
		}
	}
}

// TestOutagesLeaveNoMark: the failures of an outage are told by its state, and count for nothing afterwards.
func TestOutagesLeaveNoMark(t *testing.T) {
	t.Parallel()
	for seen, want := range map[string]int{"uuu": 0, "uudu": 1, "uuddu": 1, "uuddd": 0, "uudddd": 0, "uuddduu": 0, "uudddduuduu": 1, "uuuss": 0} {
		if _, v := play(t, seen, policy); v.Failures() != want {
			t.Errorf("after %s: %d failures, want %d", seen, v.Failures(), want)
		}
	}
	_, v := play(t, "ududududud"+strings.Repeat("u", 16), policy)
	if v.State != Up || v.Unsteady {
		t.Errorf("calm again: %v, unsteady %v", v.State, v.Unsteady)
	}
	if _, v = play(t, "ududududud", policy); !v.Unsteady || v.Failures() != 5 {
		t.Errorf("unsteady %v, with %d failures", v.Unsteady, v.Failures())
	}
}
