package daemon

import (
	"cmp"
	"errors"
	"os"
	"strings"
	"time"
	"weak"

	"github.com/prometheus/client_golang/prometheus"

	"mirrorpool/config"
	"mirrorpool/config/source"
	"mirrorpool/dnspool"
	"mirrorpool/dnspool/admin"
	"mirrorpool/health"
)

// alive returns nil if the faces answer and the checks go on. Otherwise a restart may help.
func (d *Daemon) alive() error {
	select {
	case <-d.opened:
	default:
		return errNotReady
	}
	if d.checker.Stalled() {
		return errors.New("checks are overdue by several intervals")
	}
	return nil
}

// ready returns nil if clients get answers that help them.
func (d *Daemon) ready() error {
	if err := d.alive(); err != nil {
		return err
	}
	if d.current.Load().Blind(health.HTTP) {
		return errors.New("no address of any mirror is known: look at the resolver of this host")
	}
	return nil
}

// describe is what /api/v1/status tells.
func (d *Daemon) describe() admin.Status {
	status := admin.Status{Groups: []admin.GroupStatus{}, Mirrors: []admin.MirrorStatus{}}
	if snapshot := d.current.Load(); snapshot != nil {
		status = d.describeMirrors(snapshot)
		status.AddDownloads(d.stats, time.Now())
	}
	status.Process = admin.ProcessStatus{PID: os.Getpid(), Started: d.started, Version: d.o.Version}
	status.Reload = d.lastReload.Load()
	status.GoneOverrides = d.goneOverrides()
	status.Zone = strings.TrimSuffix(d.config.Load().DNS.Zone, ".")
	status.Ready = d.ready() == nil
	status.Pool = poolStatus(d.list.Status(), time.Now())
	status.Files = d.catalog.Overview()
	status.Verification = admin.Verification{Counts: d.verifier.Counts(), Files: d.verifier.Wanted(), Mirrors: d.verifier.Report()}
	if s, ok := d.signatures(); ok {
		status.DNSSEC = &s
	}
	status.Watch = d.watchStatus(time.Now())
	status.Certificates = certificateStatus(d.ownCertificates(), time.Now())
	d.feeds.describe(&status)
	return status
}

// A description is what a status says of a snapshot's mirrors.
type description struct {
	snapshot *dnspool.Snapshot
	status   admin.Status
	made     time.Time
	took     time.Duration
}

// describeMirrors says what a status says of a snapshot's mirrors. For a large pool that takes long, and so it is good
// for ten times as long as it took; but the memory is free for other use in between.
func (d *Daemon) describeMirrors(snapshot *dnspool.Snapshot) admin.Status {
	d.describing.Lock()
	defer d.describing.Unlock()
	now := time.Now()
	if last := d.description.Value(); last != nil && last.snapshot == snapshot && now.Sub(last.made) < 10*last.took {
		return last.status
	}
	status := admin.Describe(snapshot, d.report())
	d.shares.Note(snapshot, d.handler.Redirects)
	status.AddPast(&d.shares, d.history, now)
	status.AddLedger(d.ledger, now)
	d.description = weak.Make(&description{snapshot, status, now, time.Since(now)})
	return status
}

// poolStatus says where the pool in force comes from.
func poolStatus(s source.Status, now time.Time) admin.PoolStatus {
	status := admin.PoolStatus{
		Source: s.Source, Loaded: s.Loaded, AgeSeconds: now.Sub(s.Loaded).Seconds(), Kept: s.Kept,
		Error: s.Error, KeepError: s.KeepError, Held: s.Held,
	}
	if !s.Checked.IsZero() {
		status.Checked = &s.Checked
	}
	return status
}

// poolReload is what an administrator learns of a reload of the list of mirrors.
func poolReload(r source.Result) admin.PoolReload {
	answer := admin.PoolReload{Applied: r.Applied, Held: r.Held, Warnings: []string{}, Latest: r.Latest}
	if r.Err != nil {
		answer.Error = r.Err.Error()
	}
	if !r.Change.Empty() {
		answer.Change = &r.Change
	}
	for _, group := range config.GroupWarnings(r.Warnings) {
		answer.Warnings = append(answer.Warnings, group.String())
	}
	return answer
}

// explain is what /api/v1/explain tells.
func (d *Daemon) explain(q admin.ExplainQuestion) admin.ExplainAnswer {
	q.Path = cmp.Or(q.Path, d.config.Load().HTTP.BasePath)
	a := admin.ExplainAnswer{Client: q.Client, Path: q.Path, Network: dnspool.ClientNetwork(q.Client)}
	answer, explanation, err := d.handler.Explain(q.Client, q.Secure, q.Path)
	a.Status, a.Location, a.Content, a.Explanation = answer.Status, answer.Location, answer.What, explanation
	if err != nil {
		a.Problem = err.Error()
	}
	if begin, end, ok := d.handler.Window(q.Client); ok {
		a.Begins, a.Ends = &begin, &end
	}
	if network := a.Explanation.Place.Network; network.IsValid() {
		a.Database = network.String()
	}
	return a
}

// collect sends what the faces have counted.
func (d *Daemon) collect(ch chan<- prometheus.Metric) {
	if dns, web := d.faces(); dns != nil {
		dns.Collect(ch)
		web.Collect(ch)
	}
	d.handler.Collect(ch)
	d.collectCertificates(ch)
	d.collectSignatures(ch)
	admin.CollectReads(d.verifier.Counts(), ch)
	d.events.Collect(ch)
	d.feeds.collect(ch)
}
