package daemon

import (
	"context"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/health"
	"mirrorpool/health/files/verify"
	"mirrorpool/health/probe"
)

// verifyDelay is within how many intervals of the checks the first file of a mirror is read.
const verifyDelay = 2

// newVerifier returns a verifier of the files of mirrors on the network.
func (d *Daemon) newVerifier(roots *x509.CertPool) *verify.Verifier {
	c := d.config.Load()
	origin := probe.NewOrigin(nil, func() string { return d.config.Load().Health.UserAgent })
	copies := probe.NewCopies(roots, func() string { return d.config.Load().Files.VerifyAgent })
	return verify.New(verify.Options{
		Settings: verifySettings(c.Files),
		Files:    d.catalog.Sums.Files,
		IsNewest: func(path string) bool { return d.catalog.Find(path, d.now()).Recent },
		Has:      d.catalog.MayHave,
		Fetch: func(ctx context.Context, m *verify.Mirror, addr netip.Addr, path string, offset, length int64) (*verify.Copy, error) {
			u, err := copyURL(m.URLPrefix, path)
			if err != nil {
				return nil, err
			}
			return copies.Fetch(ctx, u, addr, offset, length)
		},
		Origin: func(ctx context.Context, path string, offset, length int64) ([]byte, error) {
			c := d.config.Load().Files
			return origin.Part(ctx, c.Origin, c.Fallback, path, offset, length)
		},
		OriginIsNear: func() bool { return isFolder(d.config.Load().Files.Origin) },
		Changed:      func() { d.withhold(); d.rebuild() },
		StateFile:    d.stateFile("verified"),
		Evidence:     d.stateFile("evidence"),
		Delay:        verifyDelay * c.Health.Interval,
		Random:       rand.New(globalSource{}),
		Log:          d.log,
		Now:          d.now,
	})
}

// copyURL is where a mirror has its copy of the file at a path, which is as the origin has it, without escapes. A name
// such as a%20b.img is not that of "a b.img": taken for it, a good mirror would be accused.
func copyURL(urlPrefix, path string) (*url.URL, error) {
	return url.Parse(urlPrefix + (&url.URL{Path: path}).EscapedPath())
}

// withhold has mirrors not serve files of which they have corrupt copies.
func (d *Daemon) withhold() {
	d.withholding.Lock()
	defer d.withholding.Unlock()
	corrupt := map[uint64][]int{}
	for prefix, paths := range d.verifier.Withheld() {
		for _, hash := range paths {
			corrupt[hash] = append(corrupt[hash], d.catalog.Number(prefix))
		}
	}
	d.catalog.Withhold(corrupt)
}

// verifiedInterval is how often the redirector learns which copies are verified.
const verifiedInterval = 5 * time.Second

// shareVerified has clients be sent to verified copies, until ctx ends.
func (d *Daemon) shareVerified(ctx context.Context) error {
	ticker := time.NewTicker(verifiedInterval)
	defer ticker.Stop()
	for {
		d.catalog.SetVerified(d.verifier.Verified())
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// verifySettings are what the configuration says on the verification of files.
func verifySettings(c config.Files) verify.Settings {
	return verify.Settings{Rate: c.VerifyRate, MinRate: c.MinRate}
}

// isFolder reports whether an origin is a folder.
func isFolder(origin string) bool { return origin != "" && !strings.Contains(origin, "://") }

// observeCopies gives the verifier the mirrors, with the addresses at which they are up for redirects.
func (f *inForce) observeCopies(report *health.Report) {
	if f.config.Load().Files.Origin == "" { // no checksum is known
		f.verifier.Observe(nil)
		return
	}
	mirrors := make([]verify.Mirror, 0, len(f.pool.Mirrors))
	for i := range f.pool.Mirrors {
		entry := &f.pool.Mirrors[i]
		m := verify.Mirror{URLPrefix: entry.URLPrefix, Number: f.catalog.Number(entry.URLPrefix)}
		m.Addresses, m.Down = forRedirects(report.Mirrors[entry.URLPrefix].Endpoints)
		if !entry.Enabled() {
			m.Addresses, m.Down = nil, append(m.Down, m.Addresses...)
		}
		mirrors = append(mirrors, m)
	}
	f.verifier.Observe(mirrors)
}

// forRedirects returns the addresses of the endpoints for redirects: those that are up, and the others.
func forRedirects(endpoints []health.Endpoint) (up, down []netip.Addr) {
	for i := range endpoints {
		switch e := &endpoints[i]; {
		case e.Role != health.HTTP:
		case e.State == health.Up:
			up = append(up, e.Address)
		default:
			down = append(down, e.Address)
		}
	}
	return up, down
}

// judgeCopies has what was found in the copies of mirrors count: one with corrupt files is down, one that sends too
// slowly is stale for redirects.
func judgeCopies(report *health.Report, copies map[string]verify.MirrorReport) {
	for prefix, found := range copies {
		m, ok := report.Mirrors[prefix]
		if !ok || found.Condemned == nil && !found.Slow {
			continue
		}
		for i := range m.Endpoints {
			switch e := &m.Endpoints[i]; {
			case e.Role != health.HTTP && e.Role != health.DNS:
			case found.Condemned != nil:
				e.State, e.Reason, e.Since = health.Down, found.Condemned.String(), found.Condemned.Since
			case e.Role == health.HTTP && e.State == health.Up:
				e.State, e.Reason = health.Stale, fmt.Sprintf("throughput: %.0f kB/s at the median of the latest reads, less than files.min_rate",
					found.Speed/1e3)
			}
		}
	}
}

// pardonCopies forgets corrupt files of a mirror that a person has pardoned.
func (f *inForce) pardonCopies(set dnspool.Overrides) {
	for _, o := range set {
		if o.Kind == dnspool.ForceUp {
			f.verifier.Pardon(o.Mirror)
		}
	}
}
