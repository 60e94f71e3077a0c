package daemon

import (
	"sync"
	"time"

	"mirrorpool/dnspool"
	"mirrorpool/dnspool/redirector"
	"mirrorpool/health"
)

// publicTime is for how long what ?mirrorstats shows is shown again, as the public may ask for it.
const publicTime = 10 * time.Second

// A publicCache is what ?mirrorstats shows.
type publicCache struct {
	mu      sync.Mutex
	made    time.Time
	mirrors []redirector.PublicMirror
}

// publicStats is what ?mirrorstats shows: the enabled mirrors, in the order of the list.
func (d *Daemon) publicStats() []redirector.PublicMirror {
	d.public.mu.Lock()
	defer d.public.mu.Unlock()
	now := d.now()
	snapshot := d.current.Load()
	if age := now.Sub(d.public.made); snapshot == nil || !d.pastKnown.Load() || age >= 0 && age < publicTime {
		return d.public.mirrors
	}
	var mirrors []redirector.PublicMirror
	for i := range snapshot.Mirrors {
		if m := &snapshot.Mirrors[i]; m.Enabled() {
			mirrors = append(mirrors, d.publicMirror(m, now))
		}
	}
	d.public.made, d.public.mirrors = now, mirrors
	return mirrors
}

func (d *Daemon) publicMirror(m *dnspool.Mirror, now time.Time) redirector.PublicMirror {
	public := redirector.PublicMirror{URLPrefix: m.URLPrefix, Country: m.Place.Country, Uptime30: 1, Uptime180: 1}
	public.Expected, public.Share, _ = d.shares.Of(m.URLPrefix)
	if s, ok := d.ledger.Summary(m.URLPrefix, now, now); ok {
		public.Uptime30, public.Uptime180 = s.Uptime30, s.Uptime180
	}
	for i := range m.Endpoints {
		e := &m.Endpoints[i]
		if e.Role == health.HTTP && !e.Trace.IsZero() && m.Lacks == "" && (public.Release == nil || e.Trace.Before(*public.Release)) {
			public.Release = &e.Trace
		}
	}
	return public
}
