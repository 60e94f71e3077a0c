package health

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config/failure"
	"mirrorpool/config/statefile"
)

// restoredIntervals is how many intervals old a restored verdict may be.
const restoredIntervals = 10

// A savedState is what outlives a restart.
type savedState struct {
	Saved   time.Time              `json:"saved"`
	Changes []ReferenceChange      `json:"releases"`
	Mirrors map[string]savedMirror `json:"mirrors"` // by url_prefix
}

type savedMirror struct {
	V4       []netip.Addr   `json:"v4,omitempty"` // found by look-ups or given, private ones too
	V6       []netip.Addr   `json:"v6,omitempty"`
	Verdicts []savedVerdict `json:"verdicts"`
	EverUp   []Role         `json:"ever_up"`          // see mirror; null in files of earlier versions
	Missing  time.Time      `json:"missing,omitzero"` // see claims
	Failed   bool           `json:"failed,omitzero"`
}

// everUp returns mirror.everUp. A mirror in a file of an earlier version counts as having been up.
func (s savedMirror) everUp() (up [3]bool) {
	if s.EverUp == nil && s.Verdicts != nil {
		return [3]bool{true, true, true}
	}
	for _, role := range s.EverUp {
		up[role] = true
	}
	return up
}

type savedVerdict struct {
	Address netip.Addr `json:"address"`
	Role    Role       `json:"role"`
	Verdict
}

// A memory is what was restored for mirrors that are not there yet. The zero memory is empty.
type memory struct {
	mirrors map[string]savedMirror
	saving  failure.Last // of SaveState
}

// recall returns the restored verdict of an endpoint, or the zero Verdict.
func (m *memory) recall(prefix string, key endpointKey) Verdict {
	for _, saved := range m.mirrors[prefix].Verdicts {
		if saved.Role == key.role && (key.role == Rsync || saved.Address == key.address) {
			return saved.Verdict
		}
	}
	return Verdict{}
}

// recallAddresses restores the addresses that l had, found or given, for use until the first look-up has ended. As
// without a restart, an address that is no longer given serves until then.
func (m *memory) recallAddresses(prefix string, l *lookup) {
	saved := m.mirrors[prefix]
	if len(saved.V4)+len(saved.V6) > 0 {
		l.v4, l.v6, l.known = Answer{Addresses: saved.V4}, Answer{Addresses: saved.V6}, true
		l.noteFamilies()
		l.claims.missing, l.claims.failed = saved.Missing, saved.Failed
	}
}

// Save writes all verdicts to w.
func (c *Checker) Save(w io.Writer) error {
	return writeSealed(w, stateFormat, c.savedState())
}

func (c *Checker) savedState() *savedState {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &savedState{
		Saved: c.now(), Changes: slices.Clone(c.survey.fresh.changes),
		Mirrors: make(map[string]savedMirror, len(c.mirrors)),
	}
	for prefix, m := range c.mirrors {
		saved := savedMirror{EverUp: []Role{}, Missing: m.web.claims.missing, Failed: m.web.claims.failed}
		saved.V4, saved.V6 = m.web.serving()
		for role, up := range m.everUp {
			if up {
				saved.EverUp = append(saved.EverUp, Role(role))
			}
		}
		for k := range m.all {
			saved.Verdicts = append(saved.Verdicts, savedVerdict{k.address, k.role, k.verdict})
		}
		s.Mirrors[prefix] = saved
	}
	return s
}

// Restore reads what Save wrote. Call it before the first SetPool: mirrors that come later get the verdicts
// that they had, unless these are more than 10 intervals old. If the error is not nil, nothing has changed.
func (c *Checker) Restore(r io.Reader) error {
	state, err := readState(r)
	if err != nil {
		return err
	}
	c.adopt(state)
	return nil
}

func (c *Checker) adopt(state *savedState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, forgotten := c.now(), 0
	for _, m := range state.Mirrors {
		for i := range m.Verdicts {
			v := &m.Verdicts[i].Verdict
			known := v.State != Unknown
			if *v = v.revive(now, restoredIntervals*c.policy.Interval); known && v.State == Unknown {
				forgotten++
			}
		}
	}
	if forgotten > 0 {
		c.log.Info("ignoring saved verdicts outside the accepted age",
			zap.Int("verdicts", forgotten), zap.Duration("age", now.Sub(state.Saved).Round(time.Second)))
	}
	c.memory.mirrors = state.Mirrors
	c.survey.fresh.changes = slices.DeleteFunc(state.Changes, func(r ReferenceChange) bool { return r.Since.After(now) })
}

// A Saved is what [Checker.SaveState] has written in an earlier run.
type Saved struct {
	state *savedState // nil if there is none
	err   error

	// Working says, by url_prefix, which mirrors were fit to serve in a role, or could not be judged, when the program
	// ended. It is nil if nothing is saved, or it cannot be used.
	Working map[string]bool
}

// ReadSaved reads the file at path. A missing file is no error. A file that cannot be used is set aside, as path with
// ".bad" appended; [Checker.Adopt] says so. interval is that of the checks: older verdicts count less.
func ReadSaved(path string, now time.Time, interval time.Duration) *Saved {
	s := new(Saved)
	s.err = statefile.Load(path, func(r io.Reader) (err error) {
		s.state, err = readState(r)
		return err
	})
	if s.err != nil || s.state == nil {
		return s
	}
	s.Working = make(map[string]bool, len(s.state.Mirrors))
	for prefix, m := range s.state.Mirrors {
		s.Working[prefix] = len(m.Verdicts) == 0 || slices.ContainsFunc(m.Verdicts, func(v savedVerdict) bool {
			revived := v.revive(now, restoredIntervals*interval)
			state := revived.ForSelection()
			return v.Role != Rsync && state != Down && state != Stale
		})
	}
	return s
}

// Adopt is Restore of what was read already, once: s keeps nothing of it but Working. The checker works without it: an
// error is logged, and the caller may ignore it.
func (c *Checker) Adopt(s *Saved) error {
	switch {
	case s.err != nil:
		c.log.Warn("cannot restore saved verdicts", zap.Error(s.err))
	case s.state != nil:
		c.adopt(s.state)
		s.state = nil // it is large
	}
	return s.err
}

// revive returns v as it is after a restart: zero if it is old, or from a clock that was ahead.
func (v Verdict) revive(now time.Time, maxAge time.Duration) Verdict {
	if age := now.Sub(v.Checked); age > maxAge || age < -time.Minute || v.State == Unknown {
		return Verdict{}
	}
	v.Restored = true
	v.Pending, v.Count, v.Inconclusive = Unknown, 0, 0
	if v.State == Up {
		v.Reason = ""
	}
	return v
}

// readState reads and checks a file of saved verdicts.
func readState(r io.Reader) (*savedState, error) {
	var state savedState
	if err := readSealed(r, stateFormat, &state); err != nil {
		return nil, err
	}
	for prefix, m := range state.Mirrors {
		for _, v := range m.Verdicts {
			if v.Change < 0 || v.Change >= flapChanges || v.Count < 0 || v.Inconclusive < 0 || !v.Rate.valid() {
				return nil, fmt.Errorf("verdict on %s at %v in role %v is out of range", prefix, v.Address, v.Role)
			}
		}
	}
	ordered := func(a, b ReferenceChange) int { return min(a.Trace.Compare(b.Trace), a.Since.Compare(b.Since)) }
	if !slices.IsSortedFunc(state.Changes, ordered) {
		return nil, errors.New("releases are out of order")
	}
	return &state, nil
}

// Warm reports whether at least half of the enabled mirrors have a verdict, restored or new. Then there is no need to
// wait for the first sweep.
func (c *Checker) Warm() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	enabled, known := 0, 0
	for _, m := range c.mirrors {
		if !m.Enabled() {
			continue
		}
		enabled++
		for _, k := range m.checks {
			if v := c.verdict(k, now); v.State != Unknown {
				known++
				break
			}
		}
	}
	return known > 0 && 2*known >= enabled
}

// SaveState writes all verdicts to a file at path, atomically. The checker works without it: the error is logged
// already, once until it changes, and the caller may ignore it.
func (c *Checker) SaveState(path string) error {
	err := statefile.Replace(path, c.Save)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.memory.saving.IsNew(err) {
		c.log.Warn("cannot save verdicts", zap.String("file", path), zap.Error(err))
	}
	return err
}
