package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"slices"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/config/safefile"
	"mirrorpool/config/statefile"
	"mirrorpool/dnspool"
	"mirrorpool/dnspool/admin"
	"mirrorpool/health"
)

// maxOverrides bounds how many overrides are kept, of mirrors that the list does not have any more too.
const maxOverrides = 10_000

// overridesFormat is that of the file with the overrides.
var overridesFormat = statefile.Format{Kind: "mirrorpool-overrides", Version: 1, Limit: 16 << 20}

// override puts a person's override in force, in place of earlier ones of the mirror in the same roles.
func (d *Daemon) override(q admin.OverrideRequest) admin.OverrideAnswer {
	answer := d.setOverride(q)
	if answer.OK {
		d.pardonCopies(answer.Overrides)
		answer.Warning = joined(answer.Warning, d.saveOverrides())
		for _, o := range answer.Overrides {
			d.log.Info("override set", zap.String("mirror", o.Mirror), zap.Stringer("kind", o.Kind), zap.Stringer("role", o.Role),
				zap.Time("until", o.Until), zap.String("by", o.By), zap.String("reason", o.Reason))
		}
	}
	return answer
}

func (d *Daemon) setOverride(q admin.OverrideRequest) admin.OverrideAnswer {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.adoptOverrides()
	m, err := d.findMirror(q.Mirror)
	switch {
	case err != nil:
		return admin.OverrideAnswer{Error: err.Error()}
	case q.Kind == dnspool.ForceUp && !m.Enabled():
		return admin.OverrideAnswer{Error: m.URLPrefix + " is disabled (weight 0): to have it serve, give it a weight in the list of mirrors"}
	case q.Kind == dnspool.ForceUp && !m.InDNSPool() && !slices.Contains(q.Roles, health.HTTP):
		return admin.OverrideAnswer{Error: m.URLPrefix + " is not in the DNS pool: the list of mirrors keeps it out of DNS"}
	}
	now := d.now().UTC().Truncate(time.Second)
	next, _ := d.overrides.Split(d.now())
	var set dnspool.Overrides
	for _, role := range q.Roles {
		set = set.With(dnspool.Override{
			Mirror: m.URLPrefix, Role: role, Kind: q.Kind, Reason: q.Reason, By: q.By, Since: now, Until: now.Add(q.For),
			Anyway: q.Anyway,
		})
	}
	for _, o := range set {
		next = next.With(o)
	}
	if len(next) > maxOverrides {
		return admin.OverrideAnswer{Error: fmt.Sprintf("there are %d overrides: end some of them first", len(d.overrides))}
	}
	if q.Kind == dnspool.Drain && !q.Anyway {
		if whom, ok := d.emptied(next); ok {
			return admin.OverrideAnswer{Error: fmt.Sprintf("to drain %s would leave no mirror that is up for %s; --anyway does it",
				m.URLPrefix, whom)}
		}
	}
	d.saving++
	d.putOverrides(next)
	answer := admin.OverrideAnswer{OK: true, Overrides: set}
	if q.Kind == dnspool.ForceUp && len(d.report().Mirrors[m.URLPrefix].Endpoints) == 0 {
		answer.Warning = "it serves once an address of it is known"
	}
	return answer
}

// joined joins two warnings, each of which may be "".
func joined(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}

// emptied returns which answers would lose their last mirror that is up if next were in force, the last resort aside.
// f.mu is held.
func (f *inForce) emptied(next dnspool.Overrides) (whom string, ok bool) {
	in := f.input(f.config.Load(), f.report())
	in.Overrides = in.Overrides.Anyway()
	before := dnspool.Build(in)
	next, _ = f.withDrainsElsewhere(next)
	in.Overrides = next.Anyway()
	after := dnspool.Build(in)
	if group, ok := before.Emptied(after); ok {
		return groupText(&group), true
	}
	return before.Unserved(after)
}

// groupText names a group for people.
func groupText(g *dnspool.Group) string {
	text := "redirects over "
	if g.Role == health.DNS {
		text = "DNS answers over "
	}
	text += map[dnspool.Family]string{dnspool.IPv4: "IPv4", dnspool.IPv6: "IPv6"}[g.Family]
	if g.Secure {
		text += " to https mirrors"
	}
	return text
}

// endOverride ends the overrides of a mirror in some roles before their time.
func (d *Daemon) endOverride(q admin.OverrideRequest) admin.OverrideAnswer {
	answer := d.removeOverride(q)
	if answer.OK {
		answer.Warning = d.saveOverrides()
		d.logEnded(answer.Overrides, q.By)
	}
	return answer
}

func (d *Daemon) removeOverride(q admin.OverrideRequest) admin.OverrideAnswer {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.adoptOverrides()
	prefix, err := d.findOverridden(q.Mirror)
	if err != nil {
		return admin.OverrideAnswer{Error: err.Error()}
	}
	var ended dnspool.Overrides
	for _, role := range q.Roles {
		if o := d.overrides.Of(prefix, role); o != nil {
			ended = ended.With(*o)
		}
	}
	if len(ended) == 0 {
		if there := d.drainsElsewhere(prefix, q.Roles); len(there) > 0 {
			return d.forgetDrains(prefix, there)
		}
		return admin.OverrideAnswer{Error: fmt.Sprintf("%s is neither drained nor pardoned: 'mirrorpool status' shows which mirrors are", prefix)}
	}
	d.saving++
	d.putOverrides(d.overrides.Without(prefix, q.Roles...))
	return admin.OverrideAnswer{OK: true, Overrides: ended}
}

// findMirror returns the mirror of the pool in force with that url_prefix, name or host. f.mu is held.
func (f *inForce) findMirror(name string) (*config.Mirror, error) {
	if f.pool == nil {
		return nil, errNotReady
	}
	var found []*config.Mirror
	for i := range f.pool.Mirrors {
		if m := &f.pool.Mirrors[i]; m.IsCalled(name) {
			found = append(found, m)
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("no mirror has the url_prefix, name or host %q: 'mirrorpool status' shows all", name)
	case 1:
		return found[0], nil
	default:
		return nil, fmt.Errorf("%d mirrors have the host %q: give the url_prefix of one", len(found), name)
	}
}

// findOverridden returns the url_prefix of the mirror that is meant by a name, and may be gone from the list while an
// override of it goes on. f.mu is held.
func (f *inForce) findOverridden(name string) (prefix string, err error) {
	for _, o := range f.overrides {
		u, err := url.Parse(o.Mirror)
		if m := (config.Mirror{URLPrefix: o.Mirror, URL: u}); err == nil && m.IsCalled(name) && f.isGone(o.Mirror) {
			return o.Mirror, nil
		}
	}
	m, err := f.findMirror(name)
	if err != nil {
		return "", err
	}
	return m.URLPrefix, nil
}

// isGone reports whether a mirror is not in the pool in force. f.mu is held.
func (f *inForce) isGone(prefix string) bool {
	return !slices.ContainsFunc(f.pool.Mirrors, func(m config.Mirror) bool { return m.URLPrefix == prefix })
}

// goneOverrides returns the overrides of mirrors that are not in the list.
func (f *inForce) goneOverrides() dnspool.Overrides {
	f.mu.Lock()
	defer f.mu.Unlock()
	gone := dnspool.Overrides{}
	for _, o := range f.overrides {
		if f.isGone(o.Mirror) {
			gone = append(gone, o)
		}
	}
	return gone
}

// putOverrides puts overrides in force. f.mu is held.
func (f *inForce) putOverrides(next dnspool.Overrides) {
	f.overrides = next
	f.rebuildLocked()
	select {
	case f.overridden <- struct{}{}:
	default: // the timer is about to be set again anyway
	}
}

// saveOverrides saves the overrides in force, which do not wait for a slow disk, nor does anything else. It returns why
// a restart will forget them, or "".
func (f *inForce) saveOverrides() (warning string) {
	if f.overridesFile == "" {
		return "in force, but not saved, so that a restart undoes it: state_dir is not set"
	}
	f.savingOverrides.Lock()
	defer f.savingOverrides.Unlock()
	f.mu.Lock()
	body, err := json.Marshal(f.overrides)
	f.mu.Unlock()
	if err == nil {
		err = overridesFormat.Replace(f.overridesFile, body)
	}
	f.mu.Lock()
	f.overridesSeen, _ = os.Stat(f.overridesFile) // nil without one
	f.saving--
	f.mu.Unlock()
	if err != nil {
		f.log.Error("cannot save the overrides", zap.Error(err))
		return fmt.Sprintf("in force, but not saved, so that a restart undoes it: %v", err)
	}
	return ""
}

// loadOverrides reads the overrides that an earlier run has saved.
func (f *inForce) loadOverrides() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.adoptOverrides()
	var ended dnspool.Overrides
	f.overrides, ended = f.overrides.Split(f.now())
	f.logEnded(ended, "")
}

// adoptOverrides puts the saved overrides in force if they are not those that this process has read or written last:
// during an upgrade, two copies of the program share the file. It reports whether there were such. f.mu is held.
func (f *inForce) adoptOverrides() bool {
	info, err := os.Stat(f.overridesFile)
	if f.overridesFile == "" || err != nil || f.saving > 0 || f.overridesSeen != nil && safefile.Same(f.overridesSeen, info) {
		return false
	}
	f.overridesSeen = info
	var saved dnspool.Overrides
	err = overridesFormat.Load(f.overridesFile, func(body []byte) (err error) {
		saved, err = decodeOverrides(body)
		return err
	})
	if err != nil {
		f.log.Error("cannot read the saved overrides: drains of before the start are lost", zap.Error(err))
		return false
	}
	f.overrides = saved
	return true
}

func decodeOverrides(body []byte) (list dnspool.Overrides, err error) {
	var saved dnspool.Overrides
	if err := json.Unmarshal(body, &saved); err != nil {
		return nil, err
	}
	for _, o := range saved {
		if o.Role != health.HTTP && o.Role != health.DNS || o.Kind != dnspool.Drain && o.Kind != dnspool.ForceUp {
			return nil, fmt.Errorf("an override of %s in role %v makes no sense", o.Mirror, o.Role)
		}
		list = list.With(o)
	}
	return list, nil
}

// adoptInterval is how often it is checked whether another copy of the program has saved overrides.
const adoptInterval = time.Second

// endOverrides ends each override at its time, and adopts those of another copy of the program, until ctx ends.
func (f *inForce) endOverrides(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	adopt := time.NewTicker(adoptInterval)
	defer adopt.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-f.overridden:
		case <-adopt.C:
		}
		f.mu.Lock()
		adopted := f.adoptOverrides()
		going, ended := f.overrides.Split(f.now())
		if len(ended) > 0 {
			f.saving++
		}
		if adopted || len(ended) > 0 {
			f.putOverrides(going)
		}
		next := going.NextEnd()
		f.mu.Unlock()
		if len(ended) > 0 {
			f.saveOverrides() // what goes wrong is logged; a start drops what has ended
			f.logEnded(ended, "")
		}
		f.saveElsewhere()
		timer.Stop()
		if !next.IsZero() {
			timer.Reset(next.Sub(f.now()))
		}
	}
}

// logEnded logs overrides that have ended: by a person, or at their time.
func (f *inForce) logEnded(ended dnspool.Overrides, by string) {
	for _, o := range ended {
		f.log.Info("override ended", zap.String("mirror", o.Mirror), zap.Stringer("kind", o.Kind), zap.Stringer("role", o.Role),
			zap.String("by", by))
	}
}
