package daemon

import (
	"context"
	"crypto/x509"
	"io"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/health"
	"mirrorpool/health/files"
	"mirrorpool/health/files/checksums"
	"mirrorpool/health/probe"
)

// newCatalog returns a catalog of the files of mirrors on the network.
func (f *inForce) newCatalog(
	c config.Files, state string, roots *x509.CertPool, log *zap.Logger, now func() time.Time,
) *files.Catalog {
	agent := func() string { return f.config.Load().Health.UserAgent }
	origin := probe.NewOrigin(nil, agent)
	sumState := ""
	if state != "" {
		sumState = filepath.Join(filepath.Dir(state), "checksums")
	}
	sums := checksums.NewStore(checksums.Options{
		Settings: checksumSettings(c),
		Open: func(ctx context.Context, path string) (io.ReadCloser, error) {
			c := f.config.Load().Files
			return origin.Open(ctx, c.Origin, c.Fallback, path)
		},
		StateFile: sumState, Log: log, Now: now,
	})
	return files.NewCatalog(files.Options{
		Settings:   fileSettings(c),
		ReadOrigin: origin.Read,
		AskOrigin: func(ctx context.Context, from, path string) error {
			return origin.Ask(ctx, from, f.config.Load().Files.Fallback, path)
		},
		List:  probe.ListMirror,
		Head:  probe.NewFiles(roots, agent).Head,
		Visit: f.checker.Visit,
		Sums:  sums,

		StateFile: state, Log: log, Now: now,
	})
}

// fileSettings are what the configuration says on files.
func fileSettings(c config.Files) files.Settings {
	s := files.Settings{Origin: c.Origin, Interval: c.Interval, Rewritten: c.Rewritten, OnDemand: c.OnDemand}
	if c.Fallback != "" {
		s.Unmirrored = c.FromOrigin
	}
	return s
}

// minHashed is the size in bytes of the smallest files whose checksums are wanted, unless files.hashes says which.
const minHashed = 1 << 20

// listPause is the time between two reads of lists of checksums from a web server.
const listPause = 100 * time.Millisecond

// checksumSettings are what the configuration says on checksums.
func checksumSettings(c config.Files) checksums.Settings {
	patterns := files.Patterns(c.Hashes).Compile()
	s := checksums.Settings{Wanted: func(path string, size int64) bool {
		if len(c.Hashes) == 0 {
			return size < 0 || size >= minHashed
		}
		return patterns.Match(path)
	}}
	switch {
	case isFolder(c.Origin):
		s.Rate, s.ReadsLists = c.HashRate, true
	case strings.HasPrefix(c.Origin, "rsync:"): // a list needs no others
		s.ReadsLists, s.Pause = isSafe(c.Fallback), listPause
	}
	return s
}

// isSafe reports whether an attacker on the network path cannot alter what is read from a URL.
func isSafe(target string) bool {
	u, err := url.Parse(target)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http" && config.IsLoopback(u.Hostname()))
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

// report is what the checks know now, with what is known of files.
func (f *inForce) report() *health.Report {
	report := f.verdicts()
	f.judge(report)
	return report
}

// judge adds to a report what is known of files. A mirror that lacks files of the release is in it as one whose trace
// is old: for DNS, where clients ask it for any file.
func (f *inForce) judge(report *health.Report) {
	judgeCopies(report, f.verifier.Troubled())
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
}
