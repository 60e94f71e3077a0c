package watch

import (
	"math/rand/v2"
	"testing"
	"time"

	"mirrorpool/health"
)

// Opinions by letter: u up, d down, s stale, - unknown; D and S with evidence.
func opinionsFrom(letters string) []Opinion {
	list := make([]Opinion, len(letters))
	for i, c := range letters {
		list[i] = map[rune]Opinion{
			'u': {State: health.Up}, 'd': {State: health.Down}, 's': {State: health.Stale}, '-': {},
			'D': {State: health.Down, Evidence: true}, 'S': {State: health.Stale, Evidence: true},
		}[c]
	}
	return list
}

func TestDecide(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		opinions string
		quorum   float64
		want     health.State
	}{
		{"", 0.5, health.Unknown},
		{"---", 0.5, health.Unknown},
		{"d", 0.5, health.Unknown},
		{"d--", 0.5, health.Unknown},
		{"u--", 0.5, health.Unknown},
		{"D----", 0.5, health.Unknown},
		{"uu", 0.5, health.Up},
		{"ud", 0.5, health.Unknown}, // neither is known to be right
		{"uD-", 0.5, health.Unknown},
		{"-su-", 0.5, health.Unknown},
		{"sd", 0.5, health.Stale},
		{"dd", 0.5, health.Down},
		{"uud", 0.5, health.Up},
		{"udd", 0.5, health.Down},
		{"ddd", 0.5, health.Down},
		{"udd-----", 0.5, health.Down},
		{"uudd", 0.5, health.Up},
		{"uuudd", 0.5, health.Up},
		{"uuudd", 0.3, health.Down},
		{"udddd", 0.8, health.Up},
		{"ddddd", 0.8, health.Down},
		{"uss", 0.5, health.Stale},
		{"usd", 0.5, health.Stale},
		{"sdd", 0.5, health.Down},
		{"uuuuuuuD", 0.5, health.Up},
		{"uuuuuuDD", 0.5, health.Down},
		{"uuuuuuSS", 0.5, health.Stale},
		{"uuuuuuSD", 0.5, health.Stale},
		{"uuuuuuSd", 0.5, health.Up},
		{"uuuuuuDd", 0.5, health.Up},
	} {
		if got := Decide(opinionsFrom(test.opinions), test.quorum); got != test.want {
			t.Errorf("%s, quorum %v: %v, want %v", test.opinions, test.quorum, got, test.want)
		}
	}
}

// TestOneLiar: where two or more watchers that do not lie agree, one that does changes nothing with the default quorum,
// whatever it says.
func TestOneLiar(t *testing.T) {
	t.Parallel()
	for _, agreed := range "uds" {
		for honest := 2; honest < 8; honest++ {
			for _, lie := range "udsDS-" {
				opinions := opinionsFrom(string(repeat(agreed, honest)) + string(lie))
				if got, want := Decide(opinions, 0.5), opinions[0].State; got != want {
					t.Errorf("%d say %c, one says %c: %v", honest, agreed, lie, got)
				}
			}
		}
	}
}

func repeat(c rune, n int) []rune {
	list := make([]rune, n)
	for i := range list {
		list[i] = c
	}
	return list
}

// TestDecideKnowsNoNames: who says what does not matter, nor in which order, and those that abstain count for nothing.
func TestDecideKnowsNoNames(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(3, 4))
	for range 5000 {
		letters := make([]byte, 1+rng.IntN(9))
		for i := range letters {
			letters[i] = "udsDS-"[rng.IntN(6)]
		}
		opinions := opinionsFrom(string(letters))
		want := Decide(opinions, 0.5)
		opinions = append(opinions, Opinion{}, Opinion{})
		rng.Shuffle(len(opinions), func(i, k int) { opinions[i], opinions[k] = opinions[k], opinions[i] })
		if got := Decide(opinions, 0.5); got != want {
			t.Fatalf("%s: %v, shuffled %v", letters, want, got)
		}
	}
}

// TestApply follows one endpoint through what three watchers say of it.
func TestApply(t *testing.T) {
	t.Parallel()
	const young = time.Minute
	start := time.Unix(1e9, 0)
	j := jointVerdicts{}
	for _, step := range []struct {
		at     time.Duration
		own    string // letter
		others string
		state  health.State
		since  time.Duration
		reason string
	}{
		{0, "u", "uu", health.Up, -time.Hour, ""}, // since its own verdict
		{time.Second, "d", "uu", health.Up, -time.Hour, ""},
		{2 * time.Second, "d", "du", health.Down, 2 * time.Second, "reason of ams (down from ams, fra; up from nyc)"},
		{3 * time.Second, "u", "dd", health.Down, 2 * time.Second, "reason of ams (down from ams, nyc; up from fra)"},
		{4 * time.Second, "-", "dd", health.Down, 2 * time.Second, "reason of ams"},
		{5 * time.Second, "-", "", health.Down, 2 * time.Second, "reason of ams"}, // cut off: for as long as it is young
		{4*time.Second + young, "-", "", health.Down, 2 * time.Second, "reason of ams"},
		{5*time.Second + young, "-", "", health.Unknown, -time.Hour, "reason of fra"},
		{6*time.Second + young, "u", "", health.Up, -time.Hour, ""}, // by itself
		{7*time.Second + young, "u", "uu", health.Up, -time.Hour, ""},
		{8*time.Second + young, "d", "-u", health.Up, -time.Hour, ""},                  // of two that differ, what was decided holds
		{8*time.Second + 2*young, "d", "-u", health.Down, -time.Hour, "reason of fra"}, // and then its own
		{9*time.Second + 2*young, "s", "du", health.Stale, -time.Hour, "reason of fra (down from ams; stale from fra; up from nyc)"},
	} {
		now := start.Add(step.at)
		votes := make([]vote, 1+len(step.others))
		for i, o := range opinionsFrom(step.own + step.others) {
			votes[i] = vote{[]string{"fra", "ams", "nyc"}[i], o}
			if o.State != health.Up {
				votes[i].Reason = "reason of " + votes[i].watcher
			}
		}
		e := &health.Endpoint{Verdict: health.Verdict{State: votes[0].State, Since: start.Add(-time.Hour), Reason: votes[0].Reason}}
		j.apply("https://m/", place{}, e, votes, rule{0.5, young, young / 3}, now)
		if since := e.Since.Sub(start); e.State != step.state || since != step.since || e.Reason != step.reason {
			t.Errorf("after %v: %v since %v, %q, want %v since %v, %q",
				step.at, e.State, since, e.Reason, step.state, step.since, step.reason)
		}
		if shown := len(e.Views) > 0; shown != (len(votes) > 1 && step.own+step.others != "uuu") {
			t.Errorf("after %v: views %v", step.at, e.Views)
		}
	}
}

// TestEachByItself: what was decided of one endpoint of a mirror does not touch another one.
func TestEachByItself(t *testing.T) {
	t.Parallel()
	j, now := jointVerdicts{}, time.Unix(1e9, 0)
	decide := func(role health.Role, letters string) health.State {
		e := &health.Endpoint{}
		var votes []vote
		for _, o := range opinionsFrom(letters) {
			votes = append(votes, vote{Opinion: o})
		}
		e.State = votes[0].State
		j.apply("https://m/", place{role: role}, e, votes, rule{0.5, time.Minute, 20 * time.Second}, now)
		return e.State
	}
	decide(health.DNS, "dd")
	decide(health.HTTP, "uu")
	if got := decide(health.DNS, "-"); got != health.Down {
		t.Errorf("of one cut off, dns: %v", got)
	}
	if got := decide(health.HTTP, "-"); got != health.Up {
		t.Errorf("of one cut off, http: %v", got)
	}
}

// TestShares: where watchers differ on how much of a mirror's weight should count, the median does.
func TestShares(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		shares []float64 // 0: all of it; below 0: not up
		want   float64
	}{
		{[]float64{0, 0, 0}, 1},
		{[]float64{0.25, 0, 0}, 1},
		{[]float64{0.25, 0.125, 0}, 0.25},
		{[]float64{0.25, 0}, 1}, // by the word of one alone
		{[]float64{1e-9, 0.5, -1}, 0.5},
		{[]float64{0.25, 0.5}, 0.5},
		{[]float64{0.125, 0.25, 0.5, 0}, 0.5},
		{[]float64{0.25, -1, 0.5, 0}, 0.5},
		{[]float64{-1, -1}, 1},
	} {
		var votes []vote
		for _, share := range test.shares {
			state := health.Up
			if share < 0 {
				state = health.Down
			}
			votes = append(votes, vote{Opinion: Opinion{State: state, Share: share}})
		}
		e := &health.Endpoint{Verdict: health.Verdict{State: health.Up}}
		override(e, joint{state: health.Up, share: medianShare(votes)})
		if got := e.Share(); got != test.want {
			t.Errorf("%v: %v, want %v", test.shares, got, test.want)
		}
	}
}

// TestPassed: where watchers differ on when an unfit mirror passed last, the median does.
func TestPassed(t *testing.T) {
	t.Parallel()
	const young = time.Minute
	now := time.Unix(1e9, 0)
	for _, test := range []struct {
		letters string
		passed  []int64
		want    int64 // 0: none
	}{
		{"ddd", []int64{30, 10, 20}, 20},
		{"dd", []int64{30, 10}, 10},
		{"dsu", []int64{30, 40, 99}, 30}, // since the last is up
		{"dd-", []int64{30, 0, 7}, 30},
		{"ddd", []int64{10, 20, 1e17}, 20}, // a lie
		{"uuu", []int64{1, 2, 3}, 0},
	} {
		var votes []vote
		for i, o := range opinionsFrom(test.letters) {
			o.Passed = test.passed[i]
			votes = append(votes, vote{Opinion: o})
		}
		e := &health.Endpoint{Verdict: health.Verdict{State: votes[0].State}}
		jointVerdicts{}.apply("https://m/", place{}, e, votes, rule{0.5, young, young / 3}, now)
		if got := e.JointPassed; test.want == 0 && !got.IsZero() || test.want != 0 && got.Unix() != test.want {
			t.Errorf("%s passed at %d: %v, want %d", test.letters, test.passed, got, test.want)
		}
	}
	since, passing := time.Unix(100, 0), time.Unix(200, 0)
	for _, test := range []struct {
		verdict health.Verdict
		want    int64
	}{
		{health.Verdict{State: health.Down, Since: since}, 100},
		{health.Verdict{State: health.Stale, Since: since}, 100},
		{health.Verdict{State: health.Down, Since: since, PassingSince: passing}, 200},
		{health.Verdict{State: health.Up, Since: since}, 0},
		{health.Verdict{State: health.Down}, 0},
	} {
		if o := opinionOf(&health.Endpoint{Verdict: test.verdict}, place{}); o.Passed != test.want {
			t.Errorf("%+v: it passed at %d, want %d", test.verdict, o.Passed, test.want)
		}
	}
}

// TestOverride: of a verdict that others have overruled, nothing is left by which selection would doubt the joint one.
func TestOverride(t *testing.T) {
	t.Parallel()
	own := func(s health.State) *health.Endpoint {
		return &health.Endpoint{Suspect: "clock", Verdict: health.Verdict{
			State: s, Reason: "own", Pending: health.Up, Count: 1, Inconclusive: 1, PassingSince: time.Unix(1, 0), Latency: time.Second,
		}}
	}
	down := own(health.Up)
	override(down, joint{state: health.Down, reason: "joint"})
	if !down.PassingSince.IsZero() || down.Suspect != "" || down.Reason != "joint" || down.Latency != time.Second {
		t.Errorf("down by others: %+v", down)
	}
	stillDown := own(health.Down)
	override(stillDown, joint{state: health.Down})
	if stillDown.PassingSince.IsZero() {
		t.Error("down by all, and it is forgotten that it passes from here")
	}
	up := own(health.Down)
	override(up, joint{state: health.Up})
	if up.PassingSince.IsZero() {
		t.Error("up by others, and it is forgotten that it passes from here")
	}
	if up.InDoubt() || up.Reason != "" || up.ForSelection() != health.Up || up.Share() != 1 {
		t.Errorf("up by others: %+v", up)
	}
	same := own(health.Up)
	override(same, joint{state: health.Up})
	if same.Reason != "own" || same.Count != 1 {
		t.Errorf("up by all: %+v", same)
	}
}
