package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/dnspool/authority"
	"mirrorpool/dnspool/authority/dnssec"
)

// signingInterval is how often a zone is made at least: then signatures that are due are made anew, and keys enter
// another state.
const signingInterval = time.Hour

// errUnsigned is why there are no keys to change.
var errUnsigned = errors.New("the zone is not signed: see dns.dnssec")

// loadKeys has the zone signed with the keys that a configuration asks for.
func (d *Daemon) loadKeys(c *config.Server) error {
	keys, err := dnssec.Read(c.DNS, c.StateDir, d.now())
	if err != nil {
		return err
	}
	if keys != nil {
		past, err := dnssec.Recall(c.StateDir, c.DNS.Zone)
		if err != nil {
			return err
		}
		d.parent.seen = past.Parent
		past.TTLs = past.TTLs.With(authority.LongestTTL(c.DNS, d.zoneFile), past.Parent.NotBefore(d.now()))
		d.ttls = past.TTLs
		if err := keys.CheckStart(&past, d.now()); err != nil {
			return err
		}
		keys = keys.Outlive(d.ttls.Held(d.now()), d.now()).Resume(&past.Parent, d.ttls.Held(d.now()), d.now())
	}
	if err := keys.Save(); err != nil {
		return err
	}
	d.setKeys(c, keys)
	return nil
}

// readZoneKeys reads the keys that a new configuration names to sign the zone. With confirm, validators may refuse what
// comes of it.
func (d *Daemon) readZoneKeys(n *newSettings, confirm bool) error {
	c, now := n.config, d.now()
	keys, err := dnssec.Read(c.DNS, c.StateDir, now)
	switch {
	case err != nil:
		return err
	case keys == nil && d.signer.Keys() != nil && !confirm:
		return d.parent.expectsSignatures(c.DNS.Zone, now)
	case keys == nil:
		return nil
	}
	n.ttls = d.ttls.With(authority.LongestTTL(c.DNS, n.zoneFile), d.parent.notBefore(now))
	held := n.ttls.Held(now)
	longer := keys.Outlive(held, now)
	if longer != keys {
		n.answer.Notes = append(n.answer.Notes, "dns.dnssec: the old key of the rollover stays for longer, as there is a longer TTL in the zone")
	}
	n.keys = longer.Follow(d.signer.Keys(), now)
	err = d.parent.checkReplaced(n.keys, held, now)
	if err != nil && confirm {
		n.keys, err = n.keys.Confirmed(), nil
	}
	return err
}

// keepPast remembers what caches may have, for a restart.
func (d *Daemon) keepPast() error {
	d.keysChange.Lock()
	defer d.keysChange.Unlock()
	c := d.config.Load()
	if c.DNS.DNSSEC == nil {
		return nil
	}
	return d.past(d.ttls).Keep(c.StateDir, c.DNS.Zone)
}

// past is what caches may have of the parent and of a zone with such TTLs.
func (d *Daemon) past(ttls dnssec.TTLs) *dnssec.Past {
	d.parent.mu.Lock()
	defer d.parent.mu.Unlock()
	return &dnssec.Past{Parent: d.parent.seen, TTLs: ttls}
}

// setKeys has the next zone signed with keys. f.mu is held.
func (f *inForce) setKeys(c *config.Server, keys *dnssec.Keys) {
	if keys == nil {
		if f.signer.Keys() != nil {
			f.log.Warn("the zone is not signed any more; validators refuse it while its parent has a DS record", zap.String("zone", c.DNS.Zone))
		}
		f.signer.SetKeys(nil, 0)
		return
	}
	f.signer.SetKeys(keys, c.DNS.DNSSEC.Validity)
	f.parent.lookNow()
}

// signingNotes say when and how changes of dns.dnssec take effect that leave the keys as they are.
func signingNotes(before, now *config.DNSSEC, keys *dnssec.Keys, at time.Time) (notes []string) {
	if before == nil || now == nil {
		return nil
	}
	if now.Auto && now.Algorithm != before.Algorithm && !keys.UsesAlgorithm(now.Algorithm, at) {
		notes = append(notes, fmt.Sprintf("dns.dnssec.algorithm is for a key that is made; to replace the key that signs the zone, run "+
			"mirrorpool dnssec rollover --algorithm %s", now.Algorithm))
	}
	switch hours := now.Validity.Hours(); {
	case now.Validity < before.Validity:
		notes = append(notes, fmt.Sprintf("dns.dnssec.validity: signatures that hold for longer than %.0f hours are made anew", hours))
	case now.Validity > before.Validity:
		notes = append(notes, fmt.Sprintf("dns.dnssec.validity: signatures hold for %.0f hours from when they are made anew, as they fall due "+
			"within %.0f hours", hours, (before.Validity/2).Hours()))
	}
	return notes
}

// keepKeys keeps keys that are going to be in force, and the TTLs, or forgets the zone's keys if it is not to be signed
// any more.
func (d *Daemon) keepKeys(n *newSettings) error {
	c := n.config
	if n.changesKeys() && n.keys == nil {
		return dnssec.Forget(c.StateDir, c.DNS.Zone)
	}
	if n.changesKeys() {
		if err := n.keys.Save(); err != nil {
			return err
		}
	}
	if n.keys == nil || n.ttls == d.ttls {
		return nil
	}
	return d.past(n.ttls).Keep(c.StateDir, c.DNS.Zone)
}

// needsVersion reports whether secondaries need a new version of the zone: a key does something else, or they have had
// their signatures for an eighth of the validity, so that theirs are never older than five eighths of it; or the clock
// was set back, and theirs are from a time that is yet to come.
func (f *inForce) needsVersion(c *config.Server) bool {
	keys := f.signer.Keys()
	if c.DNS.DNSSEC == nil || keys == nil {
		return false
	}
	phase := keys.Phase(f.now())
	changed := f.keyPhase != phase
	f.keyPhase = phase
	age := f.now().Sub(f.serialSince)
	return changed || age < 0 || age >= c.DNS.DNSSEC.Validity/8
}

// moveKeys has the keys be those in the files, and a rollover go on if the parent has been seen; it holds it if that
// was long ago. After an error the keys before stay in force, and the next look at the parent is the next attempt.
func (d *Daemon) moveKeys(view *dnssec.View) error {
	err := cmp.Or(d.keepPast(), d.takeKeyFiles(), d.checkSave())
	if err == nil {
		unseen := view == nil && d.parent.isLong(d.now())
		err = d.changeKeys(func(_ *config.Server, keys *dnssec.Keys, zoneTTL time.Duration) (*dnssec.Keys, error) {
			switch {
			case view != nil:
				return keys.Advance(view, zoneTTL), nil
			case unseen:
				return keys.Hold(d.now()), nil
			default:
				return keys, nil
			}
		})
	}
	if errors.Is(err, errUnsigned) { // since the parent was looked at
		err = nil
	}
	d.parent.noteKeys(err)
	return err
}

// checkSave returns an error if keys that could not be kept still could not be: whatever asked for them has failed, and
// asks again once there is space.
func (d *Daemon) checkSave() error {
	d.keysChange.Lock()
	defer d.keysChange.Unlock()
	if d.unsaved == nil {
		return nil
	}
	if err := d.unsaved.CheckSave(); err != nil {
		return err
	}
	d.unsaved = nil
	return nil
}

// takeKeyFiles takes over what has changed in the folder of keys, where another server that leads a rollover has its
// own copied to. None of the keys that are in force may be missing.
func (d *Daemon) takeKeyFiles() error {
	return d.changeKeys(func(c *config.Server, keys *dnssec.Keys, _ time.Duration) (*dnssec.Keys, error) {
		if !c.DNS.DNSSEC.Auto {
			return keys, nil
		}
		read, err := dnssec.Read(c.DNS, c.StateDir, d.now()) // while no rollover writes them
		switch {
		case err != nil:
			return nil, err
		case read.Same(keys):
			return keys, nil
		case !read.Includes(keys, d.now()):
			return nil, fmt.Errorf("a key that signs %s is gone from the folder of keys", c.DNS.Zone)
		default:
			return read, nil
		}
	})
}

// changeKeys puts other keys in force, made from those that are and the configuration; the same are none. They are kept
// before they sign. A disk may take its time over that, while mu is free for all else.
func (f *inForce) changeKeys(
	change func(c *config.Server, keys *dnssec.Keys, zoneTTL time.Duration) (*dnssec.Keys, error),
) error {
	f.keysChange.Lock()
	defer f.keysChange.Unlock()
	c, keys := f.config.Load(), f.signer.Keys() // which stay in force meanwhile
	if c.DNS.DNSSEC == nil || keys == nil {
		return errUnsigned
	}
	next, err := change(c, keys, f.ttls.Held(f.now()))
	if err != nil || next == keys {
		return err
	}
	if err := next.Save(); err != nil {
		f.unsaved = next
		f.parent.noteKeys(err)
		return err
	}
	f.unsaved = nil
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log.Info("keys of the zone have changed", zap.String("now", next.Phase(f.now())))
	f.signer.SetKeys(next, c.DNS.DNSSEC.Validity)
	if f.current.Load() != nil {
		f.rebuildLocked()
	}
	return nil
}

// rollKeys begins a rollover.
func (d *Daemon) rollKeys(algorithm string) error {
	defer d.parent.lookNow()
	err := d.changeKeys(func(_ *config.Server, keys *dnssec.Keys, zoneTTL time.Duration) (*dnssec.Keys, error) {
		if err := d.parent.checkClock(d.now()); err != nil {
			return nil, err
		}
		return keys.Roll(algorithm, d.now(), zoneTTL)
	})
	if err != nil {
		d.log.Error("a rollover cannot begin", zap.Error(err))
	}
	return err
}

// abortRollover gives a rollover up, after a look at the parent.
func (d *Daemon) abortRollover(ctx context.Context) error {
	var view *dnssec.View
	var unseen error
	if c := d.config.Load(); c.DNS.DNSSEC != nil {
		view, unseen = d.lookAtParent(ctx, c)
	}
	err := d.changeKeys(func(_ *config.Server, keys *dnssec.Keys, _ time.Duration) (*dnssec.Keys, error) {
		if err := d.parent.checkClock(d.now()); err != nil {
			return nil, err
		}
		return keys.Abort(view, d.now())
	})
	if err == nil {
		return nil
	}
	if unseen != nil {
		err = fmt.Errorf("%w: %w", err, unseen)
	}
	d.log.Error("a rollover cannot be given up", zap.Error(err))
	return err
}

// signatures describes the zone's keys and signatures. ok is false if it is not signed.
func (d *Daemon) signatures() (s dnssec.Status, ok bool) {
	keys := d.signer.Keys()
	if keys == nil {
		return s, false
	}
	view, problem, files := d.parent.known()
	s = keys.Describe(d.now(), view, problem)
	s.KeyFiles = cmp.Or(files, d.keysChange.trouble())
	stats := d.signer.Stats()
	s.Expires, s.Made, s.Signing = keys.HoldsUntil(stats, d.now()), stats.Made, stats.Failure
	return s, true
}

// keysEnding returns an error if keys end soon that no others follow.
func (d *Daemon) keysEnding() error {
	keys := d.signer.Keys()
	if keys == nil {
		return nil
	}
	if ending := keys.EndsSoon(d.now()); ending != "" {
		return errors.New(ending)
	}
	return nil
}

func (d *Daemon) collectSignatures(ch chan<- prometheus.Metric) {
	if s, ok := d.signatures(); ok {
		s.Collect(ch)
	}
}
