package watch

import (
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

// A tally is how many votes there are for what.
type tally struct {
	up, down, stale, downSeen, staleSeen uint8 // those with evidence count twice: there, and in one of the others
}

func tallyOf(opinions []Opinion) (t tally) {
	for i := range opinions {
		o := &opinions[i]
		switch o.State {
		case health.Up:
			t.up++
		case health.Down:
			t.down++
			t.downSeen += uint8(count(o.Evidence))
		case health.Stale:
			t.stale++
			t.staleSeen += uint8(count(o.Evidence))
		}
	}
	return t
}

// pro is how much speaks for a state.
func (t *tally) pro(state health.State) uint8 {
	switch state {
	case health.Up:
		return t.up
	case health.Down:
		return t.down + t.downSeen
	}
	return t.down + t.stale + t.downSeen + t.staleSeen
}

// byAbsence reports whether another verdict than the last one has come about only because watchers abstain that voted
// before: nothing more speaks for it. They may be back at once.
func (j *joint) byAbsence(last *joint) bool {
	return j.state != last.decided && j.votes.pro(j.state) <= last.votes.pro(j.state)
}

// damp keeps a joint verdict from being Up while it is flapping.
func (j *joint) damp(last *joint, now time.Time, interval time.Duration) {
	j.decided, j.changes, j.calm = j.state, last.changes, last.calm
	switch {
	case j.state != health.Up:
		j.calm = time.Time{}
	case j.calm.IsZero():
		j.calm = now
	}
	if last.state == health.Unknown || (last.state == health.Up) == (j.state == health.Up) {
		return
	}
	for len(j.changes) > 0 && now.Sub(j.changes[0]) >= changeWindow {
		j.changes = j.changes[1:]
	}
	if j.state == health.Up && len(j.changes) >= maxChanges && now.Sub(j.calm) < changeCalm*interval {
		j.state, j.reason, j.since = last.state, flapping, last.since
		return
	}
	first := max(len(j.changes)+1-maxChanges, 0)
	j.changes = append(j.changes[first:len(j.changes):len(j.changes)], now)
}
