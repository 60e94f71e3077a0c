// Package probing probes mirrors once, as a server does that has just been started: for the commands probe and publish.
//
//	plan.go    what to probe: mirrors of a pool, or one that is in none
//	sweep.go   the one sweep
//	files.go   what the mirrors lack of the files that the origin publishes
//	result.go  the result, as a JSON document
//	text.go    the result, for people
package probing

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/health"
	"mirrorpool/health/probe"
)

const (
	// onceOnly is an interval in which no sweep can last so long that a check becomes due again.
	onceOnly     = 24 * time.Hour
	progressTime = 100 * time.Millisecond // between two calls that say how far the sweep has come
)

// ErrInterrupted is why a sweep has not ended.
var ErrInterrupted = errors.New("interrupted")

// Run checks each endpoint of the plan once, and returns what came of those that were asked for. From time to time it
// says how many endpoints it has checked, of those that are known so far.
func (p *Plan) Run(ctx context.Context, progress func(done, total int)) (*Result, error) {
	report, err := p.sweep(ctx, progress)
	if err != nil {
		return nil, err
	}
	result := newResult(p, report)
	have := p.compareFiles(ctx, report)
	for i := range result.Mirrors {
		result.Mirrors[i].Files = have[result.Mirrors[i].URLPrefix]
	}
	return result, ctx.Err()
}

// sweep checks each endpoint of the plan once.
func (p *Plan) sweep(ctx context.Context, progress func(done, total int)) (*health.Report, error) {
	settings := p.settings
	settings.Interval = onceOnly
	settings.Enabled = settings.Enabled || !p.asServed // the command line asks for it
	checker, err := probe.NewChecker(health.Options{
		Settings: settings, CheckDNS: settings.DNSURL != "",
		Log: zap.NewNop(), // all that it would log is in the report
	}, nil)
	if err != nil {
		return nil, err
	}
	checker.SetPool(p.probed)
	ctx, cancel := context.WithCancel(ctx)
	var running errgroup.Group
	running.Go(func() error { return checker.Run(ctx) })
	report, err := awaitSweep(ctx, checker, progress)
	cancel()
	if runErr := running.Wait(); err == nil {
		err = runErr
	}
	return report, err
}

func awaitSweep(ctx context.Context, checker *health.Checker, progress func(done, total int)) (*health.Report, error) {
	tick := time.NewTicker(progressTime)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, ErrInterrupted
		case <-checker.Swept():
			return checker.Report(), nil
		case <-tick.C:
			progress(sweepProgress(checker.Report()))
		}
	}
}

// Snapshot is what a server would make of the pool that has just checked all of it for the first time.
func Snapshot(ctx context.Context, c *config.Server, pool *config.Pool) (*dnspool.Snapshot, error) {
	plan, err := PlanPool(c.Health, pool, nil)
	if err != nil {
		return nil, err
	}
	plan.asServed = true
	report, err := plan.sweep(ctx, func(int, int) {})
	if err != nil {
		return nil, err
	}
	if suspects := report.SuspectNames(); suspects != "" {
		return nil, fmt.Errorf("most mirrors fail alike: it may be the %s, so nothing is published", suspects)
	}
	return dnspool.Build(dnspool.Input{
		Pool: pool, Health: report, Now: time.Now(), Rand: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
		Policy: dnspool.PolicyOf(c),
	}), nil
}
