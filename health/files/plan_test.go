package files

import (
	"errors"
	"testing"
	"time"
)

func TestPlan(t *testing.T) {
	t.Parallel()
	at := func(d time.Duration) time.Time { return testTime.Add(d) }
	const interval = 6 * time.Hour
	listed := need{interval: interval, listed: testTime}
	some := listed
	some.some = true
	together := listed
	together.together = true
	big := listed
	big.big = true
	for name, test := range map[string]struct {
		plan  plan
		need  need
		at    time.Time
		whole bool
	}{
		"never listed":        {plan{}, need{interval: interval}, time.Time{}, true},
		"nothing new":         {plan{tried: testTime}, listed, at(interval), true},
		"spread":              {plan{tried: testTime, spread: 1}, listed, at(interval * 9 / 10), true},
		"new files":           {plan{tried: testTime, trigger: at(time.Hour)}, some, at(time.Hour), false},
		"again":               {plan{tried: at(time.Hour), trigger: at(time.Hour)}, some, at(time.Hour + minPause), false},
		"after 20 min":        {plan{tried: at(80 * time.Minute), trigger: at(time.Hour)}, some, at(82 * time.Minute), false},
		"after 2 h":           {plan{tried: at(3 * time.Hour), trigger: at(time.Hour)}, some, at(3*time.Hour + maxPause), false},
		"complete":            {plan{tried: at(time.Hour), trigger: at(time.Hour)}, listed, at(interval), true},
		"unnamed":             {plan{tried: testTime, trigger: at(time.Hour), whole: true}, listed, at(time.Hour), true},
		"unnamed in big tree": {plan{tried: testTime, trigger: at(time.Hour), whole: true}, big, at(interval), true},
		"no origin":           {plan{tried: testTime, trigger: at(time.Hour)}, together, at(time.Hour + togetherPause), true},
		"no origin, listed":   {plan{tried: at(2 * time.Hour), trigger: at(time.Hour)}, together, at(interval), true},
		"failed":              {plan{tried: at(interval), failures: 1}, listed, at(interval + time.Minute), true},
		"failed four times":   {plan{tried: at(interval), failures: 4}, listed, at(interval + 8*time.Minute), true},
		"failed for a week":   {plan{tried: at(interval), failures: 1000}, listed, at(2 * interval), true},
	} {
		if got, whole := test.plan.next(test.need); !got.Equal(test.at) || whole != test.whole {
			t.Errorf("%s: %v after the listing, whole %v; want %v, %v", name, got.Sub(testTime), whole, test.at.Sub(testTime), test.whole)
		}
	}
}

// TestPlanEnds: listings for a release end when the mirror shows no difference, and begin anew with the next release.
func TestPlanEnds(t *testing.T) {
	t.Parallel()
	n := need{interval: time.Hour, listed: testTime}
	p := plan{tried: testTime}
	p.pull(testTime.Add(time.Minute), true)
	listings := 0
	for now := testTime.Add(time.Minute); now.Before(testTime.Add(50 * time.Minute)); now = now.Add(time.Second) {
		if at, whole := p.next(n); !at.After(now) {
			listings++
			p.note(now, nil, whole, listings < 3, false)
		}
	}
	if listings != 4 {
		t.Errorf("%d listings, want 4: two with changes, two without", listings)
	}
	p.note(testTime, errors.New("down"), true, false, false)
	if p.failures != 1 {
		t.Errorf("%d failures", p.failures)
	}
}

// TestPlanScales: where the operator wants listings often, the pauses are short too.
func TestPlanScales(t *testing.T) {
	t.Parallel()
	at := func(d time.Duration) time.Time { return testTime.Add(d) }
	short := need{interval: 20 * time.Second, listed: testTime, some: true}
	for name, test := range map[string]struct {
		plan plan
		need need
		at   time.Duration
	}{
		"release":        {plan{tried: at(time.Second), trigger: at(time.Second)}, short, 3 * time.Second},
		"failed":         {plan{tried: at(30 * time.Second), failures: 1}, need{interval: 20 * time.Second, listed: testTime}, 40 * time.Second},
		"failed again":   {plan{tried: at(30 * time.Second), failures: 2}, need{interval: 20 * time.Second, listed: testTime}, 50 * time.Second},
		"together":       {plan{tried: at(time.Second), trigger: at(time.Second)}, need{interval: 20 * time.Second, listed: testTime, together: true}, 3 * time.Second},
		"together, new":  {plan{}, need{interval: 20 * time.Second, listed: testTime, together: true}, 20 * time.Second},
		"largest tree":   {plan{trigger: at(time.Second), whole: true}, need{interval: 20 * time.Second, listed: testTime}, time.Second},
		"after a while":  {plan{tried: at(19 * time.Second), trigger: at(0)}, short, 20 * time.Second},
		"for too long":   {plan{tried: at(40 * time.Second), trigger: at(0)}, short, 20 * time.Second},
		"largest, alone": {plan{tried: at(time.Second), trigger: at(time.Second)}, need{interval: 20 * time.Second, listed: testTime, together: true}, 3 * time.Second},
	} {
		if got, _ := test.plan.next(test.need); !got.Equal(at(test.at)) {
			t.Errorf("%s: %v after the listing, want %v", name, got.Sub(testTime), test.at)
		}
	}
	p := plan{failures: 3, calm: 1, whole: true}
	if p.note(testTime, nil, true, true, false); p.failures != 0 || p.calm != 0 || !p.whole {
		t.Errorf("after a listing with a difference: %+v", p)
	}
	if p.note(testTime, nil, true, false, true); p.whole {
		t.Errorf("the whole tree is wanted of a mirror that has all: %+v", p)
	}
}
