package daemon

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mirrorpool/config"
	"mirrorpool/dnspool/admin"
	"mirrorpool/dnspool/certificates"
	"mirrorpool/dnspool/publish"
)

// secondaryTime is how long the secondaries of our zone are given to transfer a change after NOTIFY.
const secondaryTime = 10 * time.Second

// newACME returns what obtains certificates, or nil if the configuration has no http.tls.acme. It starts nothing.
func (d *Daemon) newACME(c *config.Server) *certificates.ACME {
	if c.HTTP.ACME == nil {
		return nil
	}
	return certificates.NewACME(certificates.Options{
		Config: c.HTTP.ACME, Dir: d.stateFile("certificates"), Log: d.log,
		Reach:   func(name string) certificates.Reach { return certificates.ReachOf(d.config.Load(), name) },
		OwnZone: ownZone{d.inForce}, UpdatesAt: d.updatesAt,
	})
}

// updatesAt returns where TXT records for a name are added, and removed, at another server.
func (d *Daemon) updatesAt(name, server string) certificates.TXTRecords {
	to := certificates.UpdateTarget(d.config.Load(), name, server)
	if to == nil { // a reload or a restart has taken it away since
		return unusable{fmt.Errorf("publish has no target any more with the zone of %s at %s", name, cmp.Or(server, "a server"))}
	}
	t, err := publish.NewTXT(*to)
	if err != nil {
		return unusable{err}
	}
	return t
}

// An unusable target is gone, or has a key that cannot be read.
type unusable struct{ err error }

func (u unusable) AddTXT(context.Context, string, string) error    { return u.err }
func (u unusable) RemoveTXT(context.Context, string, string) error { return u.err }

// ownZone adds TXT records to the zone that the DNS server answers for.
type ownZone struct{ *inForce }

// AddTXT is described at [certificates.TXTRecords].
func (z ownZone) AddTXT(ctx context.Context, name, value string) error {
	c, zoneFile := z.files()
	if err := zoneFile.CheckTXT(c.DNS, name); err != nil {
		return err
	}
	z.changeTXT(name, func(values []string) []string { return append(values, value) })
	wait := z.timeToSpread()
	if wait == 0 {
		return nil
	}
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// timeToSpread is how long other servers of the zone need to answer by a change.
func (f *inForce) timeToSpread() time.Duration {
	switch {
	case len(f.config.Load().DNS.Notify) > 0:
		return secondaryTime
	case f.watchers != nil:
		return shareTime
	}
	return 0
}

// RemoveTXT is described at [certificates.TXTRecords].
func (z ownZone) RemoveTXT(_ context.Context, name, value string) error {
	z.changeTXT(name, func(values []string) []string {
		return slices.DeleteFunc(values, func(v string) bool { return v == value })
	})
	return nil
}

// changeTXT changes the values at a name, and answers with them at once.
func (f *inForce) changeTXT(name string, change func([]string) []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	next := maps.Clone(f.txt)
	if next == nil {
		next = map[string][]string{}
	}
	if next[name] = change(slices.Clone(next[name])); len(next[name]) == 0 {
		delete(next, name)
	}
	f.txt, f.zoneChanged = next, true
	f.rebuildLocked()
}

// ownCertificates returns the state of the redirector's certificates.
func (f *inForce) ownCertificates() []certificates.Status {
	if _, web := f.faces(); web != nil {
		return web.Certificates()
	}
	return nil
}

// certificateStatus returns the part of the status on certificates.
func certificateStatus(list []certificates.Status, now time.Time) []admin.CertificateStatus {
	status := make([]admin.CertificateStatus, len(list))
	for i := range list {
		s := &list[i]
		status[i] = admin.CertificateStatus{Name: s.Name, Soon: s.Overdue(now), Problem: s.Problem}
		if !s.Until.IsZero() {
			status[i].Expires = &s.Until
		}
	}
	return status
}

// watchCertificates logs which certificates are missing or overdue, until ctx ends.
func (d *Daemon) watchCertificates(ctx context.Context) error {
	if d.config.Load().HTTP.TLS == nil {
		return nil
	}
	select {
	case <-d.opened:
		return certificates.Watch(ctx, d.ownCertificates, d.now, d.log)
	case <-ctx.Done():
		return nil
	}
}

var (
	certificateDesc = prometheus.NewDesc("mirrorpool_certificate_expiry_timestamp_seconds",
		"When a certificate of the redirector expires, in seconds since 1970; 0 while there is none yet.", []string{"name"}, nil)
	overdueDesc = prometheus.NewDesc("mirrorpool_certificate_overdue",
		"1 if a certificate of the redirector is missing, or should have been renewed by now.", []string{"name"}, nil)
)

// collectCertificates sends the metrics of certificates.
func (f *inForce) collectCertificates(ch chan<- prometheus.Metric) {
	seen := map[string]bool{}
	for _, s := range f.ownCertificates() {
		if seen[s.Name] { // by ACME, and in files
			continue
		}
		seen[s.Name] = true
		var until float64
		if !s.Until.IsZero() {
			until = float64(s.Until.Unix())
		}
		ch <- prometheus.MustNewConstMetric(certificateDesc, prometheus.GaugeValue, until, s.Name)
		overdue := 0.0
		if s.Until.IsZero() || s.Overdue(f.now()) {
			overdue = 1
		}
		ch <- prometheus.MustNewConstMetric(overdueDesc, prometheus.GaugeValue, overdue, s.Name)
	}
}
