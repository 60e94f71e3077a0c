package daemon

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/config/failure"
	"mirrorpool/dnspool/authority/dnssec"
)

const (
	parentInterval = 10 * time.Minute // between two looks at the parent's DS records
	parentTime     = 10 * time.Second // for one
)

// A parent is what is known of the zone's parent.
type parent struct {
	ask chan struct{} // of capacity 1: look again now

	mu      sync.Mutex
	view    *dnssec.View // nil: nothing yet
	problem string       // why view is old, or missing
	seen    dnssec.Seen  // also before the start
	keys    string       // why keys could not be read or kept; "" if they could
}

// take takes in what the parent has, and has view say for how long caches may have had something else. p.mu is held.
func (p *parent) take(view *dnssec.View) {
	view.Latest = p.seen.Latest
	p.seen = p.seen.With(view)
	view.TTL = max(view.TTL, p.seen.Longest)
	view.CachedUntil = p.seen.CachedUntil()
	p.view, p.problem = view, ""
}

// checkClock returns an error if the clock is before the latest look at the parent.
func (p *parent) checkClock(now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen.CheckClock(now)
}

// notBefore is now, or the latest time of a look at the parent.
func (p *parent) notBefore(now time.Time) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen.NotBefore(now)
}

// isOld reports whether the parent may have other DS records by now than those that were seen. p.mu is held.
func (p *parent) isOld(now time.Time) bool {
	return p.problem != "" || now.Before(p.view.At) || now.Sub(p.view.At) > 2*parentInterval
}

// isLong reports whether the latest look at the parent was long ago, also before the start.
func (p *parent) isLong(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return now.Sub(p.seen.Latest) > 2*parentInterval
}

// lookNow has the parent looked at now.
func (p *parent) lookNow() {
	select {
	case p.ask <- struct{}{}:
	default:
	}
}

// noteKeys notes why keys could not be read or kept; nil if they could.
func (p *parent) noteKeys(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.keys = ""; err != nil {
		p.keys = err.Error()
	}
}

// known is what is known of the parent, and why keys could not be read or kept.
func (p *parent) known() (view *dnssec.View, problem, keys string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.view, p.problem, p.keys
}

// watchParent looks at the parent's DS records from time to time, and has a rollover go on, until ctx ends.
func (d *Daemon) watchParent(ctx context.Context) error {
	timer := time.NewTimer(parentInterval)
	defer timer.Stop()
	var unseen, unusable, ending failure.Last
	for {
		if c := d.config.Load(); c.DNS.DNSSEC != nil {
			view, err := d.lookAtParent(ctx, c)
			if ctx.Err() == nil && unseen.IsNew(err) {
				d.log.Warn("the parent's DS records cannot be seen", zap.Error(err))
			}
			if err := d.moveKeys(view); unusable.IsNew(err) {
				d.log.Error("keys cannot be read or kept; those before sign on", zap.Error(err))
			}
			if err := d.keysEnding(); ending.IsNew(err) {
				d.log.Error("the keys of the zone end soon", zap.Error(err))
			}
		}
		timer.Reset(parentInterval)
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-d.parent.ask:
		}
	}
}

// lookAtParent looks at the parent's DS records once.
func (d *Daemon) lookAtParent(ctx context.Context, c *config.Server) (*dnssec.View, error) {
	view, err := lookUpDS(ctx, c.DNS.DNSSEC.Resolver, c.DNS.Zone, d.now())
	d.parent.mu.Lock()
	defer d.parent.mu.Unlock()
	if err != nil {
		d.parent.problem = err.Error()
		return nil, err
	}
	d.parent.take(view)
	return view, nil
}

// expectsSignatures returns an error if validators would refuse a zone that is not signed any more, or if that is not
// known.
func (p *parent) expectsSignatures(zone string, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	const otherwise = "leave dns.dnssec in until then (see mirrorpool dnssec status), or confirm with mirrorpool reload --confirm"
	switch {
	case p.view == nil && p.problem != "":
		return fmt.Errorf("whether the parent of %s has DS records is not known: %s; %s", zone, p.problem, otherwise)
	case p.view == nil:
		return fmt.Errorf("whether the parent of %s has DS records is not known yet; %s", zone, otherwise)
	case len(p.view.DS) > 0:
		return fmt.Errorf("the parent of %s has DS records, so that validators would refuse the unsigned zone; have them removed, and %s",
			zone, otherwise)
	case p.isOld(now):
		return fmt.Errorf("whether the parent of %s still has no DS records is not known since %s: %s; %s", zone,
			p.view.At.UTC().Format(time.RFC3339), cmp.Or(p.problem, "it was not asked since"), otherwise)
	case now.Before(p.seen.CachedUntil()):
		return fmt.Errorf("caches may have the DS records of %s until %s, so that validators would refuse the unsigned zone; %s", zone,
			p.seen.CachedUntil().UTC().Format(time.RFC3339), otherwise)
	}
	return nil
}

// checkReplaced returns an error if validators would refuse the zone with keys that replace others, or if that is not
// known. held is for how long caches may have records of the zone.
func (p *parent) checkReplaced(keys *dnssec.Keys, held time.Duration, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	const otherwise = "or confirm with mirrorpool reload --confirm"
	if err := p.seen.CheckClock(now); err != nil && keys.Changes() {
		return fmt.Errorf("%w, %s", err, otherwise)
	}
	if left := keys.LeavesOut(now); len(left) > 0 && (p.view == nil || p.isOld(now)) {
		return fmt.Errorf("whether the parent of %s has DS records of the keys %d, which are not published any more, is not known: %s; "+
			"list them again until it is (see mirrorpool dnssec status), %s", keys.Zone, left, cmp.Or(p.problem, "it was not asked"), otherwise)
	}
	if err := cmp.Or(keys.CheckReplaced(&p.seen, held, now), keys.CheckRemovals(&p.seen, held, now)); err != nil {
		return fmt.Errorf("%w; %s", err, otherwise)
	}
	return nil
}

// checkUnsigned asks the parent where the zone was signed before and is not to be any more. It returns an error if that
// has DS records. If it cannot be asked, which may have other causes at the start of a host, that is only logged.
func (d *Daemon) checkUnsigned(ctx context.Context, resolver string) error {
	c := d.o.Config
	if c.DNS.DNSSEC != nil || !dnssec.WasSigned(c.StateDir, c.DNS.Zone) {
		return nil
	}
	view, err := lookUpDS(ctx, resolver, c.DNS.Zone, d.now())
	switch {
	case err != nil:
		d.log.Error("the zone was signed before and is not any more, and whether its parent has DS records is not known; validators "+
			"refuse it if so", zap.String("zone", c.DNS.Zone), zap.Error(err))
		return nil
	case len(view.DS) > 0:
		return &ConfigError{fmt.Errorf("%s was signed before, and its parent has DS records, so that validators would refuse the unsigned "+
			"zone; put dns.dnssec back until they are removed, or remove %s", c.DNS.Zone, dnssec.SignersFile(c.StateDir))}
	}
	if until := d.cachedUntil(view); d.now().Before(until) {
		return &ConfigError{fmt.Errorf("%s was signed before, and caches may have DS records of it until %s, so that validators would "+
			"refuse the unsigned zone; put dns.dnssec back until then, or remove %s", c.DNS.Zone, until.UTC().Format(time.RFC3339),
			dnssec.SignersFile(c.StateDir))}
	}
	return dnssec.Forget(c.StateDir, c.DNS.Zone)
}

// checkFirstKey asks the parent where the first key of a zone is to be made, as with an empty state_dir. It returns an
// error if that has DS records, which are of other keys. If it cannot be asked, that is only logged.
func checkFirstKey(ctx context.Context, o Options) error {
	c := o.Config
	if !dnssec.MakesFirstKey(c.DNS, c.StateDir) {
		return nil
	}
	view, err := lookUpDS(ctx, c.DNS.DNSSEC.Resolver, c.DNS.Zone, time.Now())
	switch {
	case err != nil:
		o.Log.Error("a first key of the zone is made, and whether its parent has DS records of other keys is not known; validators refuse the "+
			"zone if so", zap.String("zone", c.DNS.Zone), zap.Error(err))
	case len(view.DS) > 0:
		return &ConfigError{fmt.Errorf("no key of %s is in %s, and its parent has a DS record of the key %d, so that validators would refuse the "+
			"zone with a new key; put state_dir/keys and state_dir/dnssec back from a backup, or have the record removed and leave "+
			"dns.dnssec out until then", c.DNS.Zone, c.StateDir, view.DS[0].KeyTag)}
	}
	return nil
}

// cachedUntil is until when caches may have DS records that the parent has not any more, by a look at it. That is
// remembered, so that each start says the same; zero if it is not known.
func (d *Daemon) cachedUntil(view *dnssec.View) time.Time {
	c := d.o.Config
	past, err := dnssec.Recall(c.StateDir, c.DNS.Zone)
	if err != nil {
		return time.Time{}
	}
	past.Parent = past.Parent.With(view)
	if err := past.Keep(c.StateDir, c.DNS.Zone); err != nil {
		d.log.Warn("cannot remember when the parent's DS records were removed", zap.Error(err))
	}
	return past.Parent.CachedUntil()
}
