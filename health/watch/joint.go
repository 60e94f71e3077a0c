package watch

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"mirrorpool/health"
)

// minVotes is how many watchers it takes to decide anything. So what one alone says changes no verdict.
const minVotes = 2

// A vote is the opinion of one watcher.
type vote struct {
	watcher string
	Opinion
}

// Decide returns what opinions on one endpoint come to; Unknown if they decide nothing. It is unfit if more than quorum
// of those that do not abstain say so, or two of them have seen evidence. One vote decides nothing, nor do two that
// differ.
func Decide(opinions []Opinion, quorum float64) health.State {
	votes, down, stale, downSeen, staleSeen := 0, 0, 0, 0, 0
	for i := range opinions {
		o := &opinions[i]
		switch o.State {
		case health.Unknown:
			continue
		case health.Down:
			down++
			downSeen += count(o.Evidence)
		case health.Stale:
			stale++
			staleSeen += count(o.Evidence)
		}
		votes++
	}
	enough := func(n int) bool { return float64(n) > quorum*float64(votes) }
	switch {
	case votes < minVotes, votes == minVotes && down+stale == 1:
		return health.Unknown // of two that differ, neither is right
	case enough(down), downSeen >= minVotes:
		return health.Down
	case enough(down + stale), downSeen+staleSeen >= minVotes:
		return health.Stale
	}
	return health.Up
}

func count(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// A joint verdict is what was decided of an endpoint.
type joint struct {
	state   health.State
	since   time.Time // when it became that
	at      time.Time // when it was decided the last time
	reason  string
	share   float64 // of the weight of one that is up
	passed  time.Time
	ballots []ballot
	decided health.State // what they came to: while it is flapping, state is another one

	changes []time.Time // when it entered or left Up, within changeWindow
	calm    time.Time   // since when the votes come to Up; zero if they do not
}

// A rule is by what verdicts are made of votes.
type rule struct {
	quorum   float64
	young    time.Duration // for which a decision holds where there is none, but for what a watcher has seen change since
	interval time.Duration // of checks
}

// jointVerdicts remembers what was decided.
type jointVerdicts map[string]map[place]joint // by url_prefix

// apply replaces the verdict of one endpoint by what the votes decide. The watcher's own vote is the first of them.
func (j jointVerdicts) apply(prefix string, p place, e *health.Endpoint, votes []vote, by rule, now time.Time) {
	opinions := make([]Opinion, len(votes))
	for i := range votes {
		opinions[i] = votes[i].Opinion
	}
	if slices.ContainsFunc(votes, func(v vote) bool { return v.State != health.Up }) && len(votes) > 1 {
		e.Views = views(votes)
	}
	last, known := j[prefix][p]
	age := now.Sub(last.at)
	known = known && age >= 0 && age <= by.young                                              // below 0 the clock was set back
	sawMore := votes[0].State != health.Unknown && !isTie(opinions) && e.Since.After(last.at) // this watcher has, since then
	next := joint{state: Decide(opinions, by.quorum), since: now, at: now}
	switch {
	case next.state == health.Unknown && known && !sawMore,
		next.state != health.Unknown && known && last.byAbsence(next.state, votes, by.quorum):
		override(e, last)
		return
	case next.state == health.Unknown:
		return
	case known && last.state == next.state:
		next.since = last.since
	case !known && e.State == next.state:
		next.since = e.Since
	}
	next.reason, next.share, next.passed = reasonFor(next.state, votes), medianShare(votes), medianPassed(votes)
	next.ballots = appendBallots(last.ballots[:0], votes)
	next.damp(&last, now, by.interval)
	if j[prefix] == nil {
		j[prefix] = map[place]joint{}
	}
	j[prefix][p] = next
	override(e, next)
}

// isTie reports whether two watchers can tell, and no more. They differ where nothing is decided: a third one may be
// back at once.
func isTie(opinions []Opinion) bool {
	votes := 0
	for i := range opinions {
		votes += count(opinions[i].State != health.Unknown)
	}
	return votes == minVotes
}

// override makes an endpoint's verdict the joint one. What else was seen of it, such as its latency, stays.
func override(e *health.Endpoint, j joint) {
	same := e.State == j.state
	e.State, e.Since, e.JointShare, e.JointPassed = j.state, j.since, j.share, j.passed
	if same && j.state == health.Up {
		return // this watcher's doubts stay
	}
	e.Reason, e.Suspect, e.From = j.reason, "", health.Unknown
	e.Pending, e.Count, e.Inconclusive = health.Unknown, 0, 0
	if !same && j.state != health.Up {
		e.PassingSince = time.Time{}
	}
}

// medianShare is how much of an endpoint's weight counts, by the median of those that find it up: of two in the middle,
// the higher one, since what one watcher alone says takes no weight away.
func medianShare(votes []vote) float64 {
	var shares []float64
	for i := range votes {
		if v := &votes[i]; v.State == health.Up {
			shares = append(shares, cmp.Or(v.Share, 1))
		}
	}
	if len(shares) == 0 {
		return 1
	}
	slices.Sort(shares)
	return shares[len(shares)/2]
}

// medianPassed is when an unfit endpoint passed the last time, by the median of those that find it unfit: of two in the
// middle, the earlier one. It is zero if none says so.
func medianPassed(votes []vote) time.Time {
	var passed []int64
	for i := range votes {
		if v := &votes[i]; v.unfit() && v.Passed != 0 {
			passed = append(passed, v.Passed)
		}
	}
	if len(passed) == 0 {
		return time.Time{}
	}
	slices.Sort(passed)
	return time.Unix(passed[(len(passed)-1)/2], 0)
}

// reasonFor is why an endpoint is in a state: the reason of the first watcher, in the order of names, that says so, and
// what each of them sees if they differ. It does not depend on which watcher asks.
func reasonFor(state health.State, votes []vote) string {
	if state == health.Up {
		return ""
	}
	reason := ""
	for _, v := range views(votes) {
		if v.State == state { // one has it, or it would not have been decided
			reason = v.Reason
			break
		}
	}
	if text := health.ViewsText(views(votes)); strings.Contains(text, ";") {
		reason += " (" + text + ")"
	}
	return reason
}

// views are votes as an endpoint shows them, in the order of the watchers' names.
func views(votes []vote) []health.View {
	list := make([]health.View, len(votes))
	for i := range votes {
		list[i] = health.View{Watcher: votes[i].watcher, State: votes[i].State, Reason: votes[i].Reason}
	}
	slices.SortFunc(list, func(a, b health.View) int { return cmp.Compare(a.Watcher, b.Watcher) })
	return list
}
