package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/config/failure"
	"mirrorpool/dnspool/authority"
	"mirrorpool/dnspool/authority/dnssec"
	"mirrorpool/dnspool/listen"
)

const (
	// signingInterval is how often a zone is made at least: then signatures that are due are made anew, and keys enter
	// another state.
	signingInterval = time.Hour
	parentInterval  = 10 * time.Minute // between two looks at the parent's DS records
	parentTime      = 10 * time.Second // for one
	resolvConf      = "/etc/resolv.conf"
)

// A parent is what is known of the zone's parent.
type parent struct {
	ask chan struct{} // of capacity 1: look again now

	mu      sync.Mutex
	view    *dnssec.View // nil: nothing yet
	problem string       // why view is old, or missing
	keys    string       // why keys could not be read or kept; "" if they could
}

// loadKeys has the zone signed with the keys that a configuration asks for.
func (d *Daemon) loadKeys(c *config.Server) error {
	keys, err := dnssec.Read(c.DNS, c.StateDir, d.now())
	if err != nil {
		return err
	}
	if err := keys.Save(); err != nil {
		return err
	}
	if keys == nil && dnssec.WasSigned(c.StateDir, c.DNS.Zone) {
		d.warnUnsigned(c)
	}
	d.setKeys(c, keys)
	return nil
}

func (f *inForce) warnUnsigned(c *config.Server) {
	f.log.Warn("the zone was signed before and is not any more; validators refuse it while its parent has a DS record",
		zap.String("zone", c.DNS.Zone))
}

// setKeys has the next zone signed with keys.
func (f *inForce) setKeys(c *config.Server, keys *dnssec.Keys) {
	if keys == nil {
		if f.signer.Keys() != nil {
			f.warnUnsigned(c)
		}
		f.signer.SetKeys(nil, 0)
		return
	}
	f.signer.SetKeys(keys, c.DNS.DNSSEC.Validity)
	f.parent.lookNow()
}

// needsVersion reports whether secondaries need a new version of the zone: a key does something else, or they have had
// their signatures for an eighth of the validity, so that theirs are never older than five eighths of it.
func (f *inForce) needsVersion(c *config.Server) bool {
	keys := f.signer.Keys()
	if c.DNS.DNSSEC == nil || keys == nil {
		return false
	}
	phase := keys.Phase(f.now())
	changed := f.keyPhase != phase
	f.keyPhase = phase
	return changed || f.now().Sub(f.serialSince) >= c.DNS.DNSSEC.Validity/8
}

// lookNow has the parent looked at now.
func (p *parent) lookNow() {
	select {
	case p.ask <- struct{}{}:
	default:
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
	var unseen, unusable failure.Last
	for {
		if c := d.config.Load(); c.DNS.DNSSEC != nil {
			view, err := d.lookAtParent(ctx, c)
			if ctx.Err() == nil && unseen.IsNew(err) {
				d.log.Warn("the parent's DS records cannot be seen", zap.Error(err))
			}
			if err := d.moveKeys(c, view); unusable.IsNew(err) {
				d.log.Error("keys cannot be read or kept; those before sign on", zap.Error(err))
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

// moveKeys has the keys be those in the files, and a rollover go on if the parent has been seen. After an error the
// keys before stay in force, and the next look at the parent is the next attempt.
func (d *Daemon) moveKeys(c *config.Server, view *dnssec.View) error {
	err := d.takeKeyFiles(c)
	if err == nil && view != nil {
		err = d.changeKeys(func(keys *dnssec.Keys, zoneTTL time.Duration) (*dnssec.Keys, error) {
			return keys.Advance(view, zoneTTL), nil
		})
	}
	d.parent.mu.Lock()
	defer d.parent.mu.Unlock()
	if d.parent.keys = ""; err != nil {
		d.parent.keys = err.Error()
	}
	return err
}

// takeKeyFiles takes over what has changed in the folder of keys, where another server that leads a rollover has its
// own copied to. None of the keys that are in force may be missing.
func (d *Daemon) takeKeyFiles(c *config.Server) error {
	if !c.DNS.DNSSEC.Auto {
		return nil
	}
	return d.changeKeys(func(keys *dnssec.Keys, _ time.Duration) (*dnssec.Keys, error) {
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

// lookAtParent looks at the parent's DS records once.
func (d *Daemon) lookAtParent(ctx context.Context, c *config.Server) (*dnssec.View, error) {
	view, err := lookUpDS(ctx, c.DNS.DNSSEC.Resolver, c.DNS.Zone, d.now())
	d.parent.mu.Lock()
	defer d.parent.mu.Unlock()
	if err != nil {
		d.parent.problem = err.Error()
		return nil, err
	}
	d.parent.view, d.parent.problem = view, ""
	return view, nil
}

// lookUpDS asks a resolver, or without one the first of this host's, for the parent's DS records.
func lookUpDS(ctx context.Context, resolver, zone string, now time.Time) (*dnssec.View, error) {
	if resolver == "" {
		local, err := dns.ClientConfigFromFile(resolvConf)
		if err != nil || len(local.Servers) == 0 {
			return nil, fmt.Errorf("no resolver in %s, and no dns.dnssec.resolver: %v", resolvConf, err)
		}
		resolver = net.JoinHostPort(local.Servers[0], local.Port)
	}
	ctx, cancel := context.WithTimeout(ctx, parentTime)
	defer cancel()
	req := new(dns.Msg)
	req.SetQuestion(zone, dns.TypeDS)
	req.SetEdns0(dns.DefaultMsgSize, false)
	resp, _, err := new(dns.Client).ExchangeContext(ctx, req, resolver)
	if err == nil && resp.Truncated {
		resp, _, err = (&dns.Client{Net: "tcp"}).ExchangeContext(ctx, req, resolver)
	}
	if err != nil {
		return nil, fmt.Errorf("asking %s for the DS records of %s: %w", resolver, zone, listen.HideAddresses(err)) // our port differs
	}
	if resp.Rcode != dns.RcodeSuccess && resp.Rcode != dns.RcodeNameError {
		return nil, fmt.Errorf("%s answers %s when asked for the DS records of %s", resolver, dns.RcodeToString[resp.Rcode], zone)
	}
	view := &dnssec.View{At: now, TTL: parentInterval}
	for _, rr := range resp.Answer {
		if ds, ok := rr.(*dns.DS); ok {
			view.DS = append(view.DS, ds)
			view.TTL = max(view.TTL, time.Duration(ds.Hdr.Ttl)*time.Second+parentInterval)
		}
	}
	return view, nil
}

// changeKeys puts other keys in force, made from those that are; the same are none. They are kept before they sign.
func (f *inForce) changeKeys(change func(keys *dnssec.Keys, zoneTTL time.Duration) (*dnssec.Keys, error)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, keys := f.config.Load(), f.signer.Keys()
	if c.DNS.DNSSEC == nil || keys == nil {
		return errors.New("the zone is not signed: see dns.dnssec")
	}
	next, err := change(keys, authority.LongestTTL(c.DNS, f.zoneFile))
	if err != nil || next == keys {
		return err
	}
	if err := next.Save(); err != nil {
		return err
	}
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
	err := d.changeKeys(func(keys *dnssec.Keys, zoneTTL time.Duration) (*dnssec.Keys, error) {
		return keys.Roll(algorithm, d.now(), zoneTTL)
	})
	if err != nil {
		d.log.Error("a rollover cannot begin", zap.Error(err))
	}
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
	s.KeyFiles = files
	stats := d.signer.Stats()
	s.Expires, s.Made = stats.Expires, stats.Made
	return s, true
}

func (d *Daemon) collectSignatures(ch chan<- prometheus.Metric) {
	if s, ok := d.signatures(); ok {
		s.Collect(ch)
	}
}
