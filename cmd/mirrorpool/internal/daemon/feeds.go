package daemon

import (
	"context"
	"strings"
	"sync"

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

// Feeds are what other DNS servers get from this one: transfers of the zone, NOTIFY, and updates of their own zones.
type feeds struct {
	log       *zap.Logger
	keys      *tsig.Ring
	transfers *transfer.Server
	last      dnspool.ZoneVersion // before the start

	mu       sync.Mutex
	senders  *senders
	replaced chan struct{} // closed once senders are others
}

// Senders notify and update other servers unasked.
type senders struct {
	notifier  *publish.Notifier
	publisher *publish.Publisher
}

func (s *senders) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.notifier.Run(ctx) })
	g.Go(func() error { return s.publisher.Run(ctx) })
	return g.Wait()
}

// newFeeds prepares what the configuration asks for. An error is about the configuration or a key's file.
func newFeeds(c *config.Server, log *zap.Logger) (*feeds, error) {
	f := &feeds{log: log, replaced: make(chan struct{})}
	next, err := f.prepare(c)
	if err != nil {
		return nil, err
	}
	f.keys, f.senders = next.keys, next.senders
	if f.transfers, err = transfer.NewServer(c.DNS, f.keys, c.StateDir, log); err != nil {
		return nil, err
	}
	if c.StateDir != "" {
		f.last = dnspool.ZoneVersion(transfer.TakeVersion(c.StateDir, log))
	}
	return f, nil
}

// newFeed is what a configuration asks for, before it is in force.
type newFeed struct {
	keys    *tsig.Ring
	access  *transfer.Access
	senders *senders
}

// prepare reads all key files that c names. An error is about the configuration or such a file.
func (f *feeds) prepare(c *config.Server) (n newFeed, err error) {
	n.senders = &senders{}
	if n.keys, err = tsig.Load(c.DNS.TSIGKeys...); err != nil {
		return n, err
	}
	if n.access, err = transfer.NewAccess(c.DNS.AllowTransfer, n.keys); err != nil {
		return n, err
	}
	if n.senders.notifier, err = publish.NewNotifier(c.DNS, n.keys, f.log); err != nil {
		return n, err
	}
	n.senders.publisher, err = publish.NewPublisher(c.Publish, f.log)
	return n, err
}

// changedKeys names the settings whose key files hold other keys than those in force.
func (f *feeds) changedKeys(n newFeed) (settings []string) {
	if !f.keys.Same(n.keys) {
		settings = append(settings, "dns.tsig_keys")
	}
	if !f.current().publisher.SameKeys(n.senders.publisher) {
		settings = append(settings, "publish")
	}
	return settings
}

// apply puts n in force. What is under way to other servers is given up, and begins anew with the next publish.
func (f *feeds) apply(n newFeed) {
	f.keys.Replace(n.keys)
	f.transfers.SetAccess(n.access)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.senders = n.senders
	close(f.replaced)
	f.replaced = make(chan struct{})
}

func (f *feeds) current() *senders {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.senders
}

// run feeds until ctx ends.
func (f *feeds) run(ctx context.Context) error {
	for ctx.Err() == nil {
		f.mu.Lock()
		senders, replaced := f.senders, f.replaced
		f.mu.Unlock()
		running, stop := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- senders.run(running) }()
		select {
		case <-ctx.Done():
		case <-replaced:
		}
		stop()
		if err := <-done; err != nil {
			return err
		}
	}
	return nil
}

// publish passes a snapshot on to the other servers. Transfers have it already: the DNS face gives it to them before it
// answers from it.
func (f *feeds) publish(s *dnspool.Snapshot) {
	senders := f.current()
	senders.notifier.Notify(s.Serial)
	senders.publisher.Publish(s)
}

// describe adds whether the other servers can be fed.
func (f *feeds) describe(status *admin.Status) {
	senders := f.current()
	status.Notify, status.Publish = feedStatus(senders.notifier.Conditions()), feedStatus(senders.publisher.Conditions())
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
	senders := f.current()
	f.transfers.Collect(ch)
	senders.notifier.Collect(ch)
	senders.publisher.Collect(ch)
}
