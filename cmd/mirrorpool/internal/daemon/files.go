package daemon

import (
	"context"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/health"
	"mirrorpool/health/files"
	"mirrorpool/health/probe"
)

// newCatalog returns a catalog of the files of mirrors on the network.
func (f *inForce) newCatalog(c config.Files, state string, log *zap.Logger, now func() time.Time) *files.Catalog {
	agent := func() string { return f.config.Load().Health.UserAgent }
	origin := probe.NewOrigin(nil, agent)
	return files.NewCatalog(files.Options{
		Settings:   fileSettings(c),
		ReadOrigin: origin.Read,
		AskOrigin: func(ctx context.Context, from, path string) error {
			return origin.Ask(ctx, from, f.config.Load().Files.Fallback, path)
		},
		List:  probe.ListMirror,
		Head:  probe.NewFiles(nil, agent).Head,
		Visit: f.checker.Visit,

		StateFile: state, Log: log, Now: now,
	})
}

// fileSettings are what the configuration says on files.
func fileSettings(c config.Files) files.Settings {
	return files.Settings{Origin: c.Origin, Interval: c.Interval, Rewritten: c.Rewritten, OnDemand: c.OnDemand}
}

// observeFiles tells the catalog of the mirrors, and of the traces that their files go with. Until all mirrors have been
// checked once, none is listed.
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
		}
		if seen.Rsync != nil && swept {
			m.Rsync = seen.Rsync.Address
		}
		mirrors = append(mirrors, m)
	}
	f.catalog.Observe(report.Reference.Trace, mirrors)
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
