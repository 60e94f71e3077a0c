package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/dnspool/publish"
	"mirrorpool/health"
)

func newPublishCommand() *cobra.Command {
	var file string
	var dryRun, once bool
	cmd := &cobra.Command{
		Use:   "publish --config FILE {--dry-run | --once}",
		Short: "Print what the dynamic updates of other servers would send, or send them once",
		Long: `Check all mirrors once, now, look at what each server under "publish" holds, and

  --dry-run   print what would be sent to it, as a script for nsupdate, and send nothing
  --once      send it, see that it is answered, and print what was sent

A server that is up to date gets nothing. A running mirrorpool does this by itself, for as long as it runs.

The exit code is 0 if all servers could be asked and are up to date, or with --dry-run could be; 1 if not;
and 2 if the usage, the configuration or the list of mirrors is bad.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return publishOnce(cmd.Context(), cmd, file, dryRun)
		},
	}
	f := cmd.Flags()
	f.StringVar(&file, "config", "", "the server's configuration, a `FILE` such as mirrorpool.json")
	f.BoolVar(&dryRun, "dry-run", false, "print what would be sent, and send nothing")
	f.BoolVar(&once, "once", false, "send it once")
	cmd.MarkFlagRequired("config")
	cmd.MarkFlagsOneRequired("dry-run", "once")
	cmd.MarkFlagsMutuallyExclusive("dry-run", "once")
	return cmd
}

// publishOnce checks the mirrors, and brings the servers that the configuration names up to date, or says how.
func publishOnce(ctx context.Context, cmd *cobra.Command, file string, dryRun bool) error {
	c, _, err := config.LoadServer(file)
	if err == nil && len(c.Publish) == 0 {
		err = &config.Error{File: file, Err: errors.New(`want at least one server in "publish"`)}
	}
	if err != nil {
		return &failure{exitUsage, err}
	}
	publisher, err := publish.NewPublisher(c.Publish, zap.NewNop())
	if err != nil {
		return &failure{exitUsage, err}
	}
	pool, err := readPool(ctx, c)
	if ctx.Err() != nil {
		return failed(errInterrupted)
	}
	if err != nil {
		return &failure{exitUsage, err}
	}
	snapshot, err := sweptSnapshot(ctx, c, pool)
	if err != nil {
		return failed(err)
	}
	send := publisher.Once
	if dryRun {
		send = publisher.Plan
	}
	return failed(send(ctx, snapshot, cmd.OutOrStdout()))
}

// sweptSnapshot is what a server would make of the pool that has just checked all of it for the first time.
func sweptSnapshot(ctx context.Context, c *config.Server, pool *config.Pool) (*dnspool.Snapshot, error) {
	plan, err := planPool(c.Health, pool, nil)
	if err != nil {
		return nil, err
	}
	plan.asServed = true
	report, err := sweep(ctx, plan, func(*health.Report) {})
	if err != nil {
		return nil, err
	}
	if report.Suspect != "" {
		return nil, fmt.Errorf("most mirrors fail at once: it may be the %s, so nothing is published", report.Suspect)
	}
	return dnspool.Build(dnspool.Input{
		Pool: pool, Health: report, Now: time.Now(), Rand: newRand(),
		Policy: dnspool.Policy{PanicThreshold: c.Health.PanicThreshold, MaxAnswers: c.DNS.MaxAnswers},
	}), nil
}
