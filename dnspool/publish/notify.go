package publish

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"mirrorpool/config"
	"mirrorpool/dnspool/tsig"
)

const (
	notifyPause = time.Second      // from one to the next, at least
	firstRetry  = time.Second      // after the first failure; then twice as long each time
	lastRetry   = 60 * time.Second // at most
)

// A Notifier tells servers that the zone has a new serial, so that they come for it.
type Notifier struct {
	zone    string
	targets []*notified
	log     *zap.Logger
	sent    *prometheus.CounterVec
}

// notified is one server that gets NOTIFY messages.
type notified struct {
	peer
	schedule
	outcome
	serial atomic.Uint32
	wake   chan struct{} // there is a new serial
}

// A schedule says how often something is tried.
type schedule struct{ pause, first, last time.Duration }

// NewNotifier makes a notifier for the zone and the targets that c configures, with the keys that it names.
func NewNotifier(c config.DNS, keys *tsig.Ring, log *zap.Logger) (*Notifier, error) {
	n := &Notifier{zone: c.Zone, log: log, sent: newSent()}
	for _, target := range c.Notify {
		addr, name, signed := strings.Cut(target, " ")
		key := keys.Key(name)
		if signed && key == nil {
			return nil, fmt.Errorf("dns.notify: no file in dns.tsig_keys has the key %q", name)
		}
		n.targets = append(n.targets, &notified{peer: newPeer(addr, c.NotifySource, key),
			schedule: schedule{notifyPause, firstRetry, lastRetry}, wake: make(chan struct{}, 1)})
	}
	return n, nil
}

// Notify says that the zone has a serial. It does not wait.
func (n *Notifier) Notify(serial uint32) {
	for _, t := range n.targets {
		if t.serial.Swap(serial) != serial {
			signal(t.wake)
		}
	}
}

// signal wakes the goroutine that waits on ch, now or when it next waits.
func signal(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// Run notifies the targets until ctx ends.
func (n *Notifier) Run(ctx context.Context) error {
	var g errgroup.Group
	for _, t := range n.targets {
		g.Go(func() error { n.tell(ctx, t); return nil })
	}
	return g.Wait()
}

// tell notifies one target of each new serial: not more than once in a pause, and until it has answered.
func (n *Notifier) tell(ctx context.Context, t *notified) {
	pace := pacer{schedule: t.schedule}
	for pace.wait(ctx, t.wake) {
		serial := t.serial.Load()
		err := t.notify(ctx, n.zone)
		if ctx.Err() != nil {
			return
		}
		result := "ok"
		if err != nil {
			result = "failed"
		}
		n.sent.WithLabelValues(t.addr, result).Inc()
		switch news := t.note(err, t.now()); {
		case news && err != nil:
			n.log.Warn("NOTIFY failed, will retry", zap.Uint32("serial", serial), zap.Error(err))
		case news:
			n.log.Info("NOTIFY works again", zap.String("server", t.addr), zap.Uint32("serial", serial))
		}
		pace.done(err)
	}
}

// notify sends one NOTIFY and waits for the answer to it. The serial is not in it: the secondary has to ask for the SOA
// anyway (RFC 1996 section 3.7).
func (t *notified) notify(ctx context.Context, zone string) error {
	conn, err := t.dial(ctx, "udp")
	if err != nil {
		return err
	}
	defer conn.Close()
	step := "NOTIFY of " + zone
	resp, err := t.exchange(ctx, conn, step, new(dns.Msg).SetNotify(zone))
	if err != nil {
		return err
	}
	if resp.Rcode != dns.RcodeSuccess {
		return t.refused(step, resp.Rcode)
	}
	return nil
}

// Conditions returns of each target whether it can be notified, in the order of the configuration.
func (n *Notifier) Conditions() []Condition {
	conditions := make([]Condition, len(n.targets))
	for i, t := range n.targets {
		conditions[i] = t.condition(t.addr, n.zone)
	}
	return conditions
}

// A pacer says when one attempt follows another: after good ones there has to be news, after bad ones time has to pass.
type pacer struct {
	schedule
	idle    time.Duration // after a good attempt, how long to wait for news; 0: for ever
	ended   time.Time     // when the latest attempt ended; zero before the first
	backOff time.Duration // until the next attempt; 0 if the latest was good
}

// wait waits for the next attempt. News cut a back-off short, but never the pause. It reports whether ctx is still on.
func (p *pacer) wait(ctx context.Context, news <-chan struct{}) bool {
	var patience <-chan time.Time
	if d := cmp.Or(p.backOff, p.idle); d > 0 {
		patience = time.After(d)
	}
	select {
	case <-news:
		p.backOff = 0
	case <-patience:
	case <-ctx.Done():
		return false
	}
	select {
	case <-time.After(time.Until(p.ended.Add(p.pause))):
	case <-ctx.Done():
		return false
	}
	select { // one NOTIFY covers what came meanwhile
	case <-news:
	default:
	}
	return true
}

// done says what came of an attempt.
func (p *pacer) done(err error) {
	p.ended = time.Now()
	switch {
	case err == nil:
		p.backOff = 0
	case p.backOff == 0:
		p.backOff = p.first
	default:
		p.backOff = min(2*p.backOff, p.last)
	}
}
