package admin

import (
	"cmp"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"mirrorpool/config"
	"mirrorpool/health"
	"mirrorpool/health/watch"
)

// A WatchStatus is the group of watchers, as this server knows it.
type WatchStatus struct {
	Name     string          `json:"name"`    // of this server
	Joint    bool            `json:"joint"`   // enough others are heard of: verdicts are what all of them come to
	Problem  string          `json:"problem"` // why others cannot be reached, or ""
	List     SharedList      `json:"list"`
	Watchers []WatcherStatus `json:"watchers"`
}

// A SharedList is what a server tells the others about its list of mirrors.
type SharedList struct {
	InForce   string     `json:"sha256"`                // of the list in force, in hex
	Since     time.Time  `json:"since"`                 // when that was accepted
	Held      string     `json:"held_sha256,omitempty"` // of an update that is held back
	HeldSince *time.Time `json:"held_since,omitempty"`
	Why       string     `json:"held_because,omitempty"`
}

// A WatcherStatus is another watcher. One that is lost is shown until it is back, or this server starts again; one that
// was stopped, for an hour.
type WatcherStatus struct {
	Name     string        `json:"name"`
	Address  string        `json:"address"` // host:port
	Alive    bool          `json:"alive"`
	Stopped  bool          `json:"stopped"`  // it is not alive because it was told to stop
	Since    time.Time     `json:"since"`    // when it joined, was stopped, or was lost
	Heard    *time.Time    `json:"heard"`    // when it last said something; null if it never did
	Counts   bool          `json:"counts"`   // what it sees counts: it is alive, and was heard of in time
	Only     bool          `json:"only"`     // it serves no clients
	Roles    []health.Role `json:"roles"`    // for which what it sees counts; empty: all
	Suspects string        `json:"suspects"` // what it holds for a fault of its own host, or ""
	Mirrors  int           `json:"mirrors"`  // how many it has an opinion of
	Version  string        `json:"version"`
	// OtherQuorum is its watch.quorum if that is not this server's; or 0.
	OtherQuorum float64 `json:"other_quorum"`
	// DrainsLeftOut is how many drains that were set there do not count here: they would take away more of the weight than
	// mirrors_guard.
	DrainsLeftOut int         `json:"drains_left_out"`
	List          *SharedList `json:"list"` // null if it has not said
}

// Names are those of all watchers, this server's first.
func (s *WatchStatus) Names() string {
	names := []string{s.Name}
	for i := range s.Watchers {
		names = append(names, s.Watchers[i].Name)
	}
	return strings.Join(names, ", ")
}

// Watcher returns the status of a watcher, or nil.
func (s *WatchStatus) Watcher(name string) *WatcherStatus {
	for i := range s.Watchers {
		if s.Watchers[i].Name == name {
			return &s.Watchers[i]
		}
	}
	return nil
}

// listPatience is how long servers may have different lists of mirrors in force before that is worth a word.
const listPatience = 15 * time.Minute

// listProblem says how the list of mirrors of another server differs from this one's, or returns "".
func (s *WatchStatus) listProblem(w *WatcherStatus, now time.Time) string {
	own, theirs := &s.List, w.List
	switch {
	case !w.Alive || theirs == nil:
		return ""
	case theirs.Held != "" && theirs.Held == own.InForce:
		return fmt.Sprintf("The watcher %s holds back the update of the list of mirrors that is in force here: "+
			"if it is meant, run there: mirrorpool reload --confirm.", w.Name)
	case theirs.Held != "" && theirs.Held == own.Held:
		return fmt.Sprintf("The watcher %s holds back the same update: confirm it there, too.", w.Name)
	case theirs.Held != "":
		return fmt.Sprintf("The watcher %s holds back an update of the list of mirrors: %s.", w.Name, theirs.Why)
	case own.Held == "" && own.InForce != theirs.InForce && now.Sub(own.Since) > listPatience && now.Sub(theirs.Since) > listPatience:
		return fmt.Sprintf("The watcher %s has another list of mirrors in force, accepted %s ago.", w.Name, Age(now.Sub(theirs.Since)))
	}
	return ""
}

// DescribeWatchers returns the status of a group.
func DescribeWatchers(g watch.Status) WatchStatus {
	s := WatchStatus{Name: g.Name, Joint: g.Joint, Problem: g.Problem, Watchers: []WatcherStatus{}}
	for _, m := range g.Members {
		s.Watchers = append(s.Watchers, describeWatcher(m))
	}
	return s
}

func describeWatcher(m watch.Member) WatcherStatus {
	roles := m.Roles
	if roles == nil {
		roles = []health.Role{}
	}
	return WatcherStatus{
		Name: m.Name, Address: m.Address, Alive: m.Alive, Stopped: m.Stopped, Since: m.Since.UTC(), Heard: timeOrNull(m.Heard), Counts: m.Counts,
		Only: m.Only, Roles: roles, Suspects: m.Suspects, Mirrors: m.Mirrors, Version: m.Version, OtherQuorum: m.OtherQuorum,
	}
}

// A WatcherView is what one watcher sees of the mirrors: the response of /api/v1/watch.
type WatcherView struct {
	WatcherStatus
	Seen []SeenMirror `json:"seen"` // in the order of the list
}

// A SeenMirror is a mirror as one watcher sees it.
type SeenMirror struct {
	URLPrefix string         `json:"url_prefix"`
	Name      string         `json:"name"`
	Weight    uint32         `json:"weight"`
	Endpoints []SeenEndpoint `json:"endpoints"` // none if the watcher says nothing of it
	// OtherFiles says that the watcher knows of other files of the newest release at it than this server does.
	OtherFiles bool `json:"other_files"`
}

// A SeenEndpoint is what one watcher says of an endpoint.
type SeenEndpoint struct {
	Address netip.Addr   `json:"address"` // not valid in role "rsync"
	Role    health.Role  `json:"role"`
	State   health.State `json:"state"` // unknown if it cannot tell
	Reason  string       `json:"reason"`
}

// Up reports whether an enabled mirror is up wherever the watcher can tell, and it can somewhere. A disabled one does
// not count.
func (m *SeenMirror) Up() bool {
	up := false
	for i := range m.Endpoints {
		switch m.Endpoints[i].State {
		case health.Up:
			up = true
		case health.Down, health.Stale:
			return m.Weight == 0
		}
	}
	return up || m.Weight == 0
}

// DescribeView returns what a watcher says of the mirrors of a pool. own is what this server says of them.
func DescribeView(about watch.Member, said, own map[string]watch.Opinions, mirrors []config.Mirror) WatcherView {
	v := WatcherView{WatcherStatus: describeWatcher(about), Seen: []SeenMirror{}}
	for i := range mirrors {
		m := SeenMirror{URLPrefix: mirrors[i].URLPrefix, Name: mirrors[i].Name, Weight: mirrors[i].Weight, Endpoints: []SeenEndpoint{}}
		for _, o := range said[m.URLPrefix].List {
			m.Endpoints = append(m.Endpoints, SeenEndpoint{o.Address, o.Role, o.State, o.Reason})
		}
		here, there := own[m.URLPrefix].Release, said[m.URLPrefix].Release
		m.OtherFiles = here != 0 && there != 0 && here != there
		v.Seen = append(v.Seen, m)
	}
	return v
}

// Only leaves the mirrors that a person may mean by some names, or all if there are none: see [config.Mirror.IsCalled].
func (v *WatcherView) Only(names []string) error {
	var kept []SeenMirror
	for _, name := range names {
		found := false
		for _, m := range v.Seen {
			u, err := url.Parse(m.URLPrefix)
			if err == nil && (&config.Mirror{URLPrefix: m.URLPrefix, Name: m.Name, URL: u}).IsCalled(name) {
				kept, found = append(kept, m), true
			}
		}
		if !found {
			return fmt.Errorf("no mirror has the url_prefix, name or host %q", name)
		}
	}
	if len(names) > 0 {
		v.Seen = kept
	}
	return nil
}

// showView handles GET /api/v1/watch?from=NAME.
func showView(b Backend) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if b.WatcherView == nil {
			http.Error(w, "this server is in no group of watchers: see watch in its configuration", http.StatusNotFound)
			return
		}
		name := r.URL.Query().Get("from")
		view, err := b.WatcherView(name)
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		writeJSON(w, view)
	}
}

// Text says in a line who watches, as "fra, with ams and nyc".
func (s *WatchStatus) Text() string {
	var names []string
	for i := range s.Watchers {
		if s.Watchers[i].Counts {
			names = append(names, s.Watchers[i].Name)
		}
	}
	switch {
	case len(names) == 0:
		return s.Name + ", by itself"
	case !s.Joint:
		return s.Name + ", by itself; with " + strings.Join(names, " and ") + " it takes one more to decide together"
	case len(names) == 2:
		return s.Name + ", with " + strings.Join(names, " and ")
	default:
		last := len(names) - 1
		return s.Name + ", with " + strings.Join(names[:last], ", ") + " and " + names[last]
	}
}

// Problems are what an administrator has to know of the group.
func (s *WatchStatus) Problems(now time.Time) (texts []string) {
	for i := range s.Watchers {
		w := &s.Watchers[i]
		switch {
		case w.Stopped:
			texts = append(texts, fmt.Sprintf("The watcher %s (%s) was stopped %s.", w.Name, w.Address, Ago(w.Since, now)))
		case !w.Alive:
			texts = append(texts, fmt.Sprintf("The watcher %s (%s) has been lost for %s. If it is gone for good, "+
				"take it out of watch.join and restart this server.", w.Name, w.Address, Age(now.Sub(w.Since))))
		case w.Suspects != "":
			texts = append(texts, fmt.Sprintf("The watcher %s suspects its own host (%s): what it sees does not count there.", w.Name, w.Suspects))
		case !w.Counts:
			texts = append(texts, fmt.Sprintf("The watcher %s says nothing: what it saw does not count.", w.Name))
		}
		if text := s.listProblem(w, now); text != "" {
			texts = append(texts, text)
		}
		if w.OtherQuorum != 0 {
			texts = append(texts, fmt.Sprintf("The watcher %s has a watch.quorum of %g, and this server another one: set it to the same for all, "+
				"or they decide otherwise.", w.Name, w.OtherQuorum))
		}
		if w.DrainsLeftOut > 0 {
			texts = append(texts, fmt.Sprintf("The watcher %s has %s left out here: all of them take away more of the weight than "+
				"mirrors_guard allows. If that is meant, drain the mirrors here, too.", w.Name, plural(w.DrainsLeftOut, "drain that is", "drains that are")))
		}
	}
	if s.Problem != "" {
		texts = append(texts, "Watchers: "+s.Problem+".")
	}
	if !s.Joint {
		texts = append(texts, "Fewer than two other watchers are heard of: this server goes by its own checks.")
	}
	return texts
}

// objection is why the first of the watchers that find the endpoint unfit does so.
func (e *EndpointStatus) objection() string {
	for i := range e.Views {
		if v := &e.Views[i]; isUnfit(v.State) {
			return cmp.Or(v.Reason, "no reason is known")
		}
	}
	return ""
}

// disputed reports whether the watchers differ on an endpoint.
func (e *EndpointStatus) disputed() bool {
	fit, unfit := false, false
	for i := range e.Views {
		switch e.Views[i].State {
		case health.Up:
			fit = true
		case health.Down, health.Stale:
			unfit = true
		}
	}
	return fit && unfit
}

// watchFamilies describe the group of watchers. Without one there are none.
var watchFamilies = []family{
	{"watch_joint", "1 if verdicts are what several watchers come to.", nil, func(s *Status, b *gaugeBuffer) {
		if s.Watch != nil {
			b.add(number(s.Watch.Joint))
		}
	}},
	watcherFamily("watcher_up", "1 if another watcher is there, and what it sees counts. One that was stopped has no value.",
		func(w *WatcherStatus) float64 { return number(w.Counts) }),
	watcherFamily("watcher_suspects_itself", "1 if another watcher suspects a fault of its own host.",
		func(w *WatcherStatus) float64 { return number(w.Suspects != "") }),
	{"mirror_disputed_endpoints", "How many endpoints of a mirror some watchers find fit and others unfit.", []string{"mirror"},
		func(s *Status, b *gaugeBuffer) {
			for i := range s.Mirrors {
				if s.Watch == nil {
					return
				}
				n := 0.0
				for k := range s.Mirrors[i].Endpoints {
					n += number(s.Mirrors[i].Endpoints[k].disputed())
				}
				b.add(n, s.Mirrors[i].label())
			}
		}},
}

func watcherFamily(name, help string, value func(w *WatcherStatus) float64) family {
	return family{name, help, []string{"watcher"}, func(s *Status, b *gaugeBuffer) {
		if s.Watch == nil {
			return
		}
		for i := range s.Watch.Watchers {
			if w := &s.Watch.Watchers[i]; !w.Stopped {
				b.add(value(w), w.Name)
			}
		}
	}}
}
