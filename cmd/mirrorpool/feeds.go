package main

import (
	"context"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/dnspool/admin"
	"mirrorpool/dnspool/authority/transfer"
	"mirrorpool/dnspool/publish"
	"mirrorpool/dnspool/tsig"
)

// Feeds are what other DNS servers are fed by: transfers of our zone, word that there is something new in it, and
// updates of their zones.
type feeds struct {
	keys       *tsig.Ring
	transfers  *transfer.Server
	notifier   *publish.Notifier
	publisher  *publish.Publisher
	lastSerial uint32 // of the zone, before the start; 0 if not known
}

// newFeeds prepares what the configuration asks for. An error is about the configuration or a key's file.
func newFeeds(c *config.Server, log *zap.Logger) (*feeds, error) {
	f := &feeds{}
	var err error
	if f.keys, err = tsig.Load(c.DNS.TSIGKeys...); err != nil {
		return nil, err
	}
	if f.transfers, err = transfer.NewServer(c.DNS, f.keys, c.StateDir, log); err != nil {
		return nil, err
	}
	if f.notifier, err = publish.NewNotifier(c.DNS, f.keys, log); err != nil {
		return nil, err
	}
	if f.publisher, err = publish.NewPublisher(c.Publish, log); err != nil {
		return nil, err
	}
	if c.StateDir != "" {
		f.lastSerial = transfer.LoadSerial(c.StateDir, log)
	}
	return f, nil
}

// run feeds until ctx ends.
func (f *feeds) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return f.notifier.Run(ctx) })
	g.Go(func() error { return f.publisher.Run(ctx) })
	return g.Wait()
}

// publish tells all on what has changed. Transfers it does not: the DNS face does, before it answers with it.
func (f *feeds) publish(s *dnspool.Snapshot) {
	f.notifier.Notify(s.Serial)
	f.publisher.Publish(s)
}

// describe tells whether the other servers can be fed.
func (f *feeds) describe(status *admin.Status) {
	status.Notify, status.Publish = feedStatus(f.notifier.Conditions()), feedStatus(f.publisher.Conditions())
}

func feedStatus(conditions []publish.Condition) []admin.FeedStatus {
	feeds := make([]admin.FeedStatus, len(conditions))
	for i, c := range conditions {
		feeds[i] = admin.FeedStatus{Server: c.Server, Zone: strings.TrimSuffix(c.Zone, "."), Problem: c.Problem}
		if !c.Since.IsZero() {
			feeds[i].Since = &c.Since
		}
	}
	return feeds
}

// collect sends what has been counted.
func (f *feeds) collect(ch chan<- prometheus.Metric) {
	f.transfers.Collect(ch)
	f.notifier.Collect(ch)
	f.publisher.Collect(ch)
}
