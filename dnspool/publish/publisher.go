package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"mirrorpool/config"
	"mirrorpool/dnspool"
)

// A Publisher keeps the pool's addresses at other servers.
type Publisher struct{ targets []*target }

// NewPublisher makes a publisher for the targets that are configured. It reads their keys.
func NewPublisher(targets []config.Publish, log *zap.Logger) (*Publisher, error) {
	p := &Publisher{}
	for i, c := range targets {
		if slices.ContainsFunc(targets[:i], func(other config.Publish) bool {
			return other.Server == c.Server && other.Zone == c.Zone
		}) {
			return nil, fmt.Errorf("publish/%d: the zone %s at %s is a target already: give all its names there", i, c.Zone, c.Server)
		}
		t, err := newTarget(c, log)
		if err != nil {
			return nil, fmt.Errorf("publish/%d: %w", i, err)
		}
		p.targets = append(p.targets, t)
	}
	return p, nil
}

// SameKeys reports whether the targets of p and other, one by one, have the same keys.
func (p *Publisher) SameKeys(other *Publisher) bool {
	return slices.EqualFunc(p.targets, other.targets, func(a, b *target) bool { return a.key.Same(b.key) })
}

// Publish says what is to be kept from now on. It does not wait.
func (p *Publisher) Publish(s *dnspool.Snapshot) {
	for _, t := range p.targets {
		t.follow(s)
	}
}

// Run keeps the targets up to date until ctx ends.
func (p *Publisher) Run(ctx context.Context) error {
	var g errgroup.Group
	for _, t := range p.targets {
		g.Go(func() error { t.run(ctx); return nil })
	}
	return g.Wait()
}

// Once brings all targets up to date, each for itself, and writes what has been done. It tries once.
func (p *Publisher) Once(ctx context.Context, s *dnspool.Snapshot, w io.Writer) error {
	return p.each(func(t *target) (string, error) {
		t.started = s.Built
		changes, err := t.keep(ctx, s)
		if err != nil {
			return "", err
		}
		return t.describe("done", changes), nil
	}, w)
}

// Plan writes what Once would send, as input for nsupdate.
func (p *Publisher) Plan(ctx context.Context, s *dnspool.Snapshot, w io.Writer) error {
	return p.each(func(t *target) (string, error) {
		t.started = s.Built
		changes, err := t.plan(ctx, s)
		if err != nil {
			return "", err
		}
		return t.describe("to be done", changes), nil
	}, w)
}

// each calls do for all targets at the same time, and writes what it returns in their order.
func (p *Publisher) each(do func(*target) (string, error), w io.Writer) error {
	texts, errs := make([]string, len(p.targets)), make([]error, len(p.targets))
	var g sync.WaitGroup
	for i, t := range p.targets {
		g.Go(func() { texts[i], errs[i] = do(t) })
	}
	g.Wait()
	for _, text := range texts {
		if _, err := io.WriteString(w, text); err != nil {
			return err
		}
	}
	return errors.Join(errs...)
}

// plan finds out what has to be changed, and changes nothing.
func (t *target) plan(ctx context.Context, s *dnspool.Snapshot) ([]change, error) {
	conn, err := t.dial(ctx, "tcp")
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	seen, err := t.read(ctx, conn)
	if err != nil {
		return nil, err
	}
	want, err := t.wanted(s, seen)
	return compare(seen, want), err
}

// describe puts changes into a script for nsupdate. It names the key's file, never the key.
func (t *target) describe(state string, changes []change) string {
	if len(changes) == 0 {
		return fmt.Sprintf("; %s: %s is up to date\n", t.addr, t.config.Zone)
	}
	signed := "nsupdate -v"
	if t.key != nil {
		signed = fmt.Sprintf("nsupdate -v -k %s (%v)", t.config.TSIG, t.key)
	}
	host, port, _ := net.SplitHostPort(t.addr)
	return fmt.Sprintf("; %s, by %s\nserver %s %s\n%s", state, signed, host, port, script(t.config.Zone, changes))
}

// Conditions returns of each target whether it can be kept up to date, in the order of the configuration.
func (p *Publisher) Conditions() []Condition {
	conditions := make([]Condition, len(p.targets))
	for i, t := range p.targets {
		conditions[i] = t.condition(t.config.Server, t.config.Zone)
	}
	return conditions
}
