package watch

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"mirrorpool/health"
)

const (
	maxReason    = 200  // bytes of a reason
	maxReasons   = 1000 // bytes of all reasons of one mirror
	maxOpinions  = 32   // of one mirror
	maxName      = 63   // bytes of a watcher's name
	maxViewBytes = 32 << 20
	// maxMirrorBytes is for what a view has on one mirror, with each byte of a reason escaped as JSON does.
	maxMirrorBytes = 32 << 10
	// latestPassed is the last time that is believed of Opinion.Passed: in the year 2999.
	latestPassed = 32_503_680_000
)

// An Opinion is what one watcher says of one endpoint.
type Opinion struct {
	Address netip.Addr   `json:"a,omitzero"` // not valid in role Rsync: a daemon is judged as a whole
	Role    health.Role  `json:"r"`
	State   health.State `json:"s"` // Unknown if the watcher abstains
	// Evidence says that an unfit mirror has sent something which shows that it is: see [health.Verdict.Evident].
	Evidence bool   `json:"e,omitempty"`
	Reason   string `json:"w,omitempty"` // of one that is not up
	// Passed is when one that is unfit passed the last time, about, in seconds since 1970; 0: not known.
	Passed int64 `json:"p,omitempty"`
	// Share is how much of the weight of one that is up should count; 0: all of it.
	Share float64 `json:"h,omitempty"`
}

// place is the part of an opinion that says of what it is.
type place struct {
	address netip.Addr
	role    health.Role
}

func (o *Opinion) place() place { return place{o.Address, o.Role} }

// unfit reports whether the opinion is that an endpoint should not serve.
func (o *Opinion) unfit() bool { return o.State == health.Down || o.State == health.Stale }

// Opinions of one mirror, with the count at which they became what they are.
type Opinions struct {
	Count   uint64    `json:"n"`
	List    []Opinion `json:"o"`
	Release uint64    `json:"f,omitempty"` // see [health.MirrorReport]
}

// UnmarshalJSON refuses what no watcher says as soon as it is found in a view: a list of empty opinions takes many
// times the memory of its text.
func (m *Opinions) UnmarshalJSON(text []byte) error {
	if len(text) > maxMirrorBytes {
		return fmt.Errorf("%d bytes on a mirror", len(text))
	}
	type plain Opinions
	if err := json.Unmarshal(text, (*plain)(m)); err != nil {
		return err
	}
	if m.Count == 0 || len(m.List) > maxOpinions {
		return fmt.Errorf("%d opinions on a mirror, of count %d", len(m.List), m.Count)
	}
	return checkOpinions(m.List)
}

// says reports whether two watchers say the same of a mirror.
func (m *Opinions) says(list []Opinion, release uint64) bool {
	return m.Release == release && slices.Equal(m.List, list)
}

// A View is what one watcher says, or a part of it.
type View struct {
	Watcher string `json:"w"`
	// Count grows with whatever the watcher says. It begins with the time of its start in nanoseconds, so that it grows
	// over restarts, too.
	Count uint64 `json:"n"`
	// Complete is the count since which a mirror that is not in Mirrors is none of the watcher's. 0: it says nothing of
	// those, as in a part of a view.
	Complete uint64 `json:"c,omitempty"`
	// Changes is the number of the latest change of opinions and notes that the watcher has told of. A part of a view that
	// tells of a change has the number of that.
	Changes  uint64              `json:"k,omitempty"`
	Beat     uint32              `json:"i,omitempty"` // milliseconds until it says again that it is alive
	Age      uint32              `json:"g,omitempty"` // milliseconds since it was heard of by the one that passes this on
	Stopped  bool                `json:"x,omitempty"` // it stops now, because it was told to
	Want     string              `json:"q,omitempty"` // nothing else is said: Watcher asks for the whole view of this one
	Suspects string              `json:"s,omitempty"` // names of what is wrong with the watcher's own host
	Zone     ZoneVersion         `json:"z,omitzero"`  // that it serves
	Mirrors  map[string]Opinions `json:"m,omitempty"` // by url_prefix
	Notes    map[Topic]Note      `json:"t,omitempty"`
}

// tells reports whether a view has opinions or notes. One that has none says that the watcher is alive.
func (v *View) tells() bool { return v.Complete != 0 || len(v.Mirrors)+len(v.Notes) > 0 }

// summary says how far the watcher of a view has counted.
func (v *View) summary() *View {
	return &View{Watcher: v.Watcher, Count: v.Count, Changes: v.Changes, Suspects: v.Suspects, Zone: v.Zone}
}

// text is a view as it is sent.
func (v *View) text() []byte {
	text, err := json.Marshal(v)
	if err != nil { // it holds nothing that cannot be written
		return nil
	}
	return text
}

// A ZoneVersion is the version of the zone that a watcher serves.
type ZoneVersion struct {
	Serial  uint32 `json:"n"`
	Content uint64 `json:"h"` // a hash of what the version tells; the same in all watchers that tell the same
}

// opinionsOf are the opinions in a report on one mirror, or those for which there is room. So are their reasons.
func opinionsOf(r *health.MirrorReport) []Opinion {
	list := make([]Opinion, 0, len(r.Endpoints)+count(r.Rsync != nil))
	for i := range r.Endpoints {
		e := &r.Endpoints[i]
		list = append(list, opinionOf(e, place{e.Address, e.Role}))
	}
	if r.Rsync != nil {
		list = append(list, opinionOf(r.Rsync, place{role: health.Rsync}))
	}
	list = list[:min(len(list), maxOpinions)]
	room := maxReasons
	for i := range list {
		if room -= len(list[i].Reason); room < 0 {
			list[i].Reason, room = "", 0
		}
	}
	return list
}

// opinionOf is the opinion that comes from a verdict.
func opinionOf(e *health.Endpoint, p place) Opinion {
	o := Opinion{Address: p.address, Role: p.role, State: e.State}
	if e.Suspect != "" && e.State != health.Up {
		o.State = health.Unknown
	}
	if o.State != health.Up {
		o.Reason = shortened(e.Reason)
	}
	if share := e.Rate.Share(); o.State == health.Up && share < 1 {
		o.Share = share
	}
	o.Evidence = o.unfit() && e.Evident()
	if passed := cmp.Or(e.PassingSince, e.Since); o.unfit() && !passed.IsZero() {
		o.Passed = min(max(passed.Unix(), 0), latestPassed)
	}
	return o
}

// shortened is a reason as it is sent: JSON would make three bytes of one that is no part of a character.
func shortened(reason string) string {
	return strings.ToValidUTF8(reason[:min(len(reason), maxReason)], "")
}

// parseView reads a view that another member has sent, and refuses what no watcher says.
func parseView(data []byte) (*View, error) {
	if len(data) > maxViewBytes {
		return nil, fmt.Errorf("view of %d bytes, more than %d", len(data), maxViewBytes)
	}
	v := new(View)
	if err := json.Unmarshal(data, v); err != nil {
		return nil, fmt.Errorf("read view: %w", err)
	}
	if err := checkName(v.Watcher); err != nil {
		return nil, err
	}
	if v.Want != "" {
		return v, checkName(v.Want)
	}
	if v.Complete > v.Count {
		return nil, fmt.Errorf("complete since count %d in a view of count %d", v.Complete, v.Count)
	}
	if len(v.Suspects) > maxReason {
		return nil, errors.New("too long a list of suspects")
	}
	if err := v.checkNotes(); err != nil {
		return nil, err
	}
	for prefix, m := range v.Mirrors {
		if m.Count > v.Count || m.Count < v.Complete {
			return nil, fmt.Errorf("opinions of %.100q, of count %d in a view of %d to %d", prefix, m.Count, v.Complete, v.Count)
		}
	}
	return v, nil
}

// checkOpinions says what is wrong with the opinions of one mirror. Two of one endpoint would be two votes; and a
// zone of an IPv6 address can be of any length.
func checkOpinions(list []Opinion) error {
	reasons := 0
	seen := make(map[place]bool, len(list))
	for i := range list {
		o := &list[i]
		reasons += len(o.Reason)
		switch {
		case len(o.Reason) > maxReason || reasons > maxReasons:
			return errors.New("too long a reason")
		case o.Share < 0 || o.Share > 1:
			return fmt.Errorf("a share of %v", o.Share)
		case o.Passed < 0 || o.Passed > latestPassed: // JSON has no later years, and could not keep a verdict with one
			return fmt.Errorf("a pass at %d", o.Passed)
		case o.Address.Zone() != "":
			return errors.New("an address with a zone")
		case seen[o.place()]:
			return fmt.Errorf("two of %v in role %v", o.Address, o.Role)
		}
		seen[o.place()] = true
	}
	return nil
}

// checkName says what is wrong with the name of a watcher.
func checkName(name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("a watcher's name has 1 to %d characters, not %d", maxName, len(name))
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c > '~' || c == ',' || c == '"' {
			return fmt.Errorf("%q is no watcher's name", name)
		}
	}
	return nil
}
