package admin

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"mirrorpool/health"
)

// TestWatchTable shows what each watcher sees of mirrors that not all find up: those first on which they differ.
func TestWatchTable(t *testing.T) {
	t.Parallel()
	views := func(states string) (list []health.View) {
		for i, name := range []string{"ams", "fra", "nyc"} {
			state := map[byte]health.State{'u': health.Up, 'd': health.Down, 's': health.Stale, '?': health.Unknown}[states[i]]
			v := health.View{Watcher: name, State: state}
			if state == health.Down || state == health.Stale {
				v.Reason = "<" + name + ">"
			}
			list = append(list, v)
		}
		return list
	}
	mirror := func(name string, weight uint32, endpoints ...string) MirrorStatus {
		m := MirrorStatus{URLPrefix: "https://" + name + ".example.net/", Name: name, Weight: weight}
		for _, states := range endpoints {
			e := EndpointStatus{State: health.Up}
			switch states {
			case "":
			case "alone":
				e.State, e.Reason = health.Down, "timeout"
			default:
				e.Views = views(states)
			}
			m.Endpoints = append(m.Endpoints, e)
		}
		return m
	}
	now := time.Unix(1e9, 0)
	s := &Status{
		Watch: &WatchStatus{Name: "fra", Joint: true, Watchers: []WatcherStatus{{Name: "nyc", Alive: true}, {Name: "gone"}, {Name: "ams", Alive: true}}},
		Mirrors: []MirrorStatus{
			mirror("fine", 1, "", ""), mirror("dead", 1, "ddd", "sss"), mirror("off", 0, "ddd"), mirror("far", 1, "duu", "sd?"),
			mirror("half", 1, "", "ddd"), mirror("", 1, "?u?"), mirror("ours", 1, "alone"),
		},
	}
	table := newWatchTable(s, now)
	got := strings.Join(table.Watchers, " ") + "\n"
	for _, r := range table.Rows {
		got += r.Mirror
		for _, c := range r.Cells {
			got += fmt.Sprintf(", %s %s %s", c.Class, c.State, c.Why)
		}
		got += "\n"
	}
	const want = `ams fra nyc
far, d down <ams>, p partly <fra>, u up 
dead, d down <ams>, d down <fra>, d down <nyc>
half, p partly <ams>, p partly <fra>, p partly <nyc>
https://.example.net/, q cannot tell , u up , q cannot tell 
ours, q cannot tell , d down timeout, q cannot tell 
`
	if got != want || table.Note != "All watchers find the other 2 mirrors up, or disabled." {
		t.Errorf("got\n%s%s\nwant\n%s", got, table.Note, want)
	}
	var page bytes.Buffer
	if err := pageTemplate.Execute(&page, newPage(s, pageView{}, time.Unix(1e9, 0))); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{`<th scope="col">nyc</th>`, `<th scope="row">far</th><td><b class="d" title="&lt;ams&gt;">down</b></td>`} {
		if !strings.Contains(page.String(), text) {
			t.Errorf("no %s in the page", text)
		}
	}

	s.Mirrors = nil
	for i := range maxSeen + 2 {
		s.Mirrors = append(s.Mirrors, mirror(fmt.Sprint(i), 1, "ddd"))
	}
	if table = newWatchTable(s, now); len(table.Rows) != maxSeen || !strings.Contains(table.Note, "2 mirrors that they do not find up are left out") {
		t.Errorf("%d rows, and %q", len(table.Rows), table.Note)
	}
	s.Mirrors = s.Mirrors[:0]
	if table = newWatchTable(s, now); len(table.Rows) != 0 || table.Note != "All watchers find all mirrors up, as far as they can tell." {
		t.Errorf("%+v", table)
	}
	s.Watch.Joint = false
	if table = newWatchTable(s, now); len(table.Rows) != 0 || len(table.Members) != 3 || !strings.Contains(table.Note, "goes by its own checks") {
		t.Errorf("a server that goes by itself: %+v", table)
	}
	s.Watch = nil
	if newWatchTable(s, now) != nil {
		t.Error("a table without a group")
	}
}

// TestWatchMembers says who is in the group, since when, and how far behind.
func TestWatchMembers(t *testing.T) {
	t.Parallel()
	now := time.Unix(1e9, 0)
	heard := now.Add(-3 * time.Second)
	w := WatcherStatus{Name: "ams", Address: "192.0.2.1:7946", Alive: true, Counts: true, Since: now.Add(-2 * time.Hour), Heard: &heard}
	silent, suspect, gone := w, w, w
	silent.Counts, silent.Only, suspect.Suspects, gone.Alive, gone.Counts, gone.Heard = false, true, "clock", false, false, nil
	for _, test := range []struct {
		w    WatcherStatus
		want string
	}{
		{w, "u here joined 2h00m ago, heard 3s ago"},
		{silent, "q silent joined 2h00m ago, heard 3s ago; it only watches"},
		{suspect, "s suspect suspects its own host: clock, heard 3s ago"},
		{gone, "d gone lost 2h00m ago"},
	} {
		m := test.w.member(now)
		if got := m.Class + " " + m.State + " " + m.About; got != test.want || m.Name != "ams" || m.Address != "192.0.2.1:7946" {
			t.Errorf("%+v, want %q", m, test.want)
		}
	}
}
