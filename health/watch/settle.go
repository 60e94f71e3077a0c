package watch

import (
	"slices"
	"time"

	"mirrorpool/health"
)

const (
	// A joint verdict may enter or leave Up maxChanges times within changeWindow. With one change more it is flapping,
	// and the votes have to come to Up for changeCalm intervals before it is up again. Each watcher damps its own
	// verdicts after half as many changes: this is for what comes of several of them, and of watchers that come and go.
	maxChanges   = 12
	changeWindow = time.Hour
	changeCalm   = 10

	flapping = "flapping: what the watchers decide changed more than 12 times within an hour, has to stay up for 10 intervals"
)

// A ballot is what a watcher has voted, as far as it decides.
type ballot struct {
	Watcher  string       `json:"w"`
	State    health.State `json:"s"`
	Evidence bool         `json:"e,omitempty"`
}

func appendBallots(list []ballot, votes []vote) []ballot {
	for i := range votes {
		list = append(list, ballot{votes[i].watcher, votes[i].State, votes[i].Evidence})
	}
	return list
}

// byAbsence reports whether votes come to another state than those before only because watchers abstain that voted
// then. They may be back at once: with what they said, the verdict would be the old one.
func (j *joint) byAbsence(state health.State, votes []vote, quorum float64) bool {
	if state == j.decided {
		return false
	}
	var opinions []Opinion
	for i := range votes {
		opinions = append(opinions, votes[i].Opinion)
	}
	for _, old := range j.ballots {
		if !slices.ContainsFunc(votes, func(v vote) bool { return v.watcher == old.Watcher && v.State != health.Unknown }) {
			opinions = append(opinions, Opinion{State: old.State, Evidence: old.Evidence})
		}
	}
	return Decide(opinions, quorum) == j.decided
}

// damp keeps a joint verdict from being Up while it is flapping.
func (j *joint) damp(last *joint, now time.Time, interval time.Duration) {
	j.decided, j.changes, j.calm = j.state, last.changes, last.calm
	switch {
	case j.state != health.Up:
		j.calm = time.Time{}
	case j.calm.IsZero(), now.Before(j.calm): // the clock was set back
		j.calm = now
	}
	if last.state == health.Unknown || (last.state == health.Up) == (j.state == health.Up) {
		return
	}
	var recent []time.Time
	for _, at := range j.changes {
		if age := now.Sub(at); age >= 0 && age < changeWindow {
			recent = append(recent, at)
		}
	}
	j.changes = recent
	if j.state == health.Up && len(j.changes) >= maxChanges && now.Sub(j.calm) < changeCalm*interval {
		j.state, j.reason, j.since = last.state, flapping, last.since
		return
	}
	j.changes = append(recent[max(len(recent)+1-maxChanges, 0):], now)
}
