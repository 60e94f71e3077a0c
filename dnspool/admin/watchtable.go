package admin

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"mirrorpool/health"
)

// maxSeen is how many mirrors the table of what watchers see has: those on which they differ come first.
const maxSeen = 100

// A watchTable shows as what each watcher sees the mirrors that some of them do not find up.
type watchTable struct {
	Members  []watchMember // the other watchers, those included that are gone
	Watchers []string
	Rows     []watchRow
	Note     string
}

// A watchMember is another watcher.
type watchMember struct{ Class, State, Name, Address, About string }

type watchRow struct {
	Mirror   string
	Cells    []watchCell // by watcher
	disputed bool
}

// A watchCell is how a mirror's endpoints look to one watcher. Its class is that of a condition.
type watchCell struct{ Class, State, Why string }

// newWatchTable returns the table, or nil where there is no group of watchers.
func newWatchTable(s *Status, now time.Time) *watchTable {
	if s.Watch == nil {
		return nil
	}
	t := &watchTable{Watchers: []string{s.Watch.Name}}
	for i := range s.Watch.Watchers {
		w := &s.Watch.Watchers[i]
		t.Members = append(t.Members, w.member(now))
		if w.Alive {
			t.Watchers = append(t.Watchers, w.Name)
		}
	}
	if !s.Watch.Joint {
		t.Note = "Fewer than two other watchers are heard of: this server goes by its own checks."
		return t
	}
	slices.Sort(t.Watchers)
	for i := range s.Mirrors {
		m := &s.Mirrors[i]
		if m.Weight > 0 && slices.ContainsFunc(m.Endpoints, func(e EndpointStatus) bool { return len(e.Views) > 0 || isUnfit(e.State) }) {
			t.Rows = append(t.Rows, t.row(m, s.Watch.Name))
		}
	}
	slices.SortStableFunc(t.Rows, func(a, b watchRow) int { return cmp.Compare(number(b.disputed), number(a.disputed)) })
	others := len(s.Mirrors) - len(t.Rows)
	switch {
	case len(t.Rows) == 0:
		t.Note = "All watchers find all mirrors up, as far as they can tell."
	case others > 0:
		t.Note = fmt.Sprintf("All watchers find the other %s up, or disabled.", plural(others, "mirror", "mirrors"))
	}
	if more := len(t.Rows) - maxSeen; more > 0 {
		t.Note += fmt.Sprintf(" %s that they do not find up are left out here.", plural(more, "mirror", "mirrors"))
		t.Rows = t.Rows[:maxSeen]
	}
	return t
}

// member is a watcher as the page shows it.
func (w *WatcherStatus) member(now time.Time) watchMember {
	m := watchMember{Class: isUp.class(), State: "here", Name: w.Name, Address: w.Address, About: "joined " + Ago(w.Since, now)}
	switch {
	case w.Stopped:
		m.Class, m.State, m.About = isUnknown.class(), "stopped", "stopped "+Ago(w.Since, now)
	case !w.Alive:
		m.Class, m.State, m.About = isDown.class(), "gone", "lost "+Ago(w.Since, now)
	case !w.Counts:
		m.Class, m.State = isUnknown.class(), "silent"
	case w.Suspects != "":
		m.Class, m.State, m.About = isStale.class(), "suspect", "suspects its own host: "+w.Suspects
	}
	if w.Heard != nil {
		m.About += ", heard " + Ago(*w.Heard, now)
	}
	if w.Only {
		m.About += "; it only watches"
	}
	return m
}

func isUnfit(s health.State) bool { return s == health.Down || s == health.Stale }

// row is that of one mirror. own is the name of this server.
func (t *watchTable) row(m *MirrorStatus, own string) watchRow {
	r := watchRow{Mirror: cmp.Or(m.Name, m.label())}
	for _, name := range t.Watchers {
		r.Cells = append(r.Cells, seenBy(m, name, name == own))
	}
	for i := range m.Endpoints {
		r.disputed = r.disputed || m.Endpoints[i].disputed()
	}
	return r
}

// seenBy is how a mirror looks to a watcher: in one state, or up in part. Of an endpoint without views, all say that it
// is up, or this server alone knows of it.
func seenBy(m *MirrorStatus, watcher string, own bool) watchCell {
	up, worst, why := false, health.Unknown, ""
	for i := range m.Endpoints {
		e := &m.Endpoints[i]
		state, reason := e.State, e.Reason
		if len(e.Views) > 0 || !own && isUnfit(e.State) {
			state, reason = health.Unknown, ""
			if k := slices.IndexFunc(e.Views, func(v health.View) bool { return v.Watcher == watcher }); k >= 0 {
				state, reason = e.Views[k].State, e.Views[k].Reason
			}
		}
		switch {
		case state == health.Up:
			up = true
		case state != health.Unknown && stateConditions[state] < stateConditions[worst]:
			worst, why = state, reason
		}
	}
	switch {
	case worst == health.Unknown && up:
		return watchCell{isUp.class(), isUp.name(), ""}
	case worst == health.Unknown:
		return watchCell{isUnknown.class(), "cannot tell", ""}
	case up:
		return watchCell{isPartly.class(), isPartly.name(), why}
	}
	return watchCell{stateConditions[worst].class(), worst.String(), why}
}
