package daemon

import (
	"context"
	"crypto/x509"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/health"
	"mirrorpool/health/files"
	"mirrorpool/health/probe"
)

// newCatalog returns a catalog of the files of mirrors on the network.
func (f *inForce) newCatalog(
	c config.Files, state string, roots *x509.CertPool, log *zap.Logger, now func() time.Time,
) *files.Catalog {
	agent := func() string { return f.config.Load().Health.UserAgent }
	origin := probe.NewOrigin(nil, agent)
	return files.NewCatalog(files.Options{
		Settings:   fileSettings(c),
		ReadOrigin: origin.Read,
		AskOrigin: func(ctx context.Context, from, path string) error {
			return origin.Ask(ctx, from, f.config.Load().Files.Fallback, path)
		},
		List:  probe.ListMirror,
		Head:  probe.NewFiles(roots, agent).Head,
		Visit: f.checker.Visit,

		StateFile: state, Log: log, Now: now,
	})
}

// fileSettings are what the configuration says on files.
func fileSettings(c config.Files) files.Settings {
	return files.Settings{Origin: c.Origin, Interval: c.Interval, Rewritten: c.Rewritten, OnDemand: c.OnDemand}
}

// observeFiles gives the catalog the mirrors, and of the traces that their files go with. Until all mirrors have
// been checked once, none is listed.
func (f *inForce) observeFiles(report *health.Report) {
	swept := false
	select {
	case <-f.checker.Swept():
		swept = true
	default:
	}
	mirrors := make([]files.Mirror, 0, len(f.pool.Mirrors))
	for i := range f.pool.Mirrors {
		entry := &f.pool.Mirrors[i]
		seen := report.Mirrors[entry.URLPrefix]
		m := files.Mirror{
			URLPrefix: entry.URLPrefix, RsyncURL: entry.RsyncURL, Enabled: entry.Enabled(), Weight: entry.Weight, Trace: latestTrace(&seen),
			Serves: serves(&seen),
		}
		if seen.Rsync != nil && swept {
			m.Rsync = seen.Rsync.Address
		}
		mirrors = append(mirrors, m)
	}
	f.catalog.Observe(report.Reference.Trace, mirrors)
}

// serves reports whether a mirror is up for redirects at one of its addresses.
func serves(m *health.MirrorReport) bool {
	return slices.ContainsFunc(m.Endpoints, func(e health.Endpoint) bool { return e.Role == health.HTTP && e.State == health.Up })
}

// latestTrace is the newest trace that a mirror has at one of its addresses.
func latestTrace(m *health.MirrorReport) (latest time.Time) {
	for i := range m.Endpoints {
		if trace := m.Endpoints[i].Trace; trace.After(latest) {
			latest = trace
		}
	}
	return latest
}

// fileStatus is what /api/v1/files tells.
func (d *Daemon) fileStatus(ctx context.Context, paths []string) []files.FileStatus {
	below := make([]string, len(paths))
	for i, path := range paths {
		below[i] = strings.TrimPrefix(path, "/")
	}
	return d.handler.FileStatuses(ctx, below)
}

// lacksTime bounds how long the origin is read for names, within what the admin server has for its answer.
const lacksTime = 8 * time.Second

// lacks is what /api/v1/lacks tells.
func (d *Daemon) lacks(ctx context.Context, mirror string) (lacks files.MirrorLacks, ok bool) {
	snapshot := d.current.Load()
	if snapshot == nil {
		return lacks, false
	}
	for i := range snapshot.Mirrors {
		m := &snapshot.Mirrors[i]
		if !m.IsCalled(mirror) {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, lacksTime)
		defer cancel()
		var err error
		lacks = files.MirrorLacks{URLPrefix: m.URLPrefix}
		if lacks.Files, lacks.Count, err = d.catalog.Lacks(ctx, m.URLPrefix); err != nil {
			lacks.Problem = err.Error()
		}
		return lacks, true
	}
	return lacks, false
}

// report is what the checks know now. A mirror that lacks files of the release is in it as one whose trace is old: for
// DNS, where clients ask it for any file.
func (f *inForce) report() *health.Report {
	report := f.checker.Report()
	maxLag := f.config.Load().Health.MaxLag
	for prefix, m := range report.Mirrors {
		lacks, since := f.catalog.Behind(prefix)
		if lacks == "" {
			continue
		}
		m.Lacks = lacks
		report.Mirrors[prefix] = m
		for i := range m.Endpoints {
			if e := &m.Endpoints[i]; e.Role == health.DNS && e.State == health.Up && report.At.Sub(since) > maxLag {
				e.State, e.Reason = health.Stale, health.StepFreshness+": "+lacks
			}
		}
	}
	return report
}
