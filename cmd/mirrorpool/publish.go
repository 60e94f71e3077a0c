package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"mirrorpool/cmd/mirrorpool/internal/probing"
	"mirrorpool/config"
	"mirrorpool/dnspool/publish"
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
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dryRun == once {
				return errors.New("want either --dry-run or --once")
			}
			return publishOnce(cmd.Context(), cmd, file, dryRun)
		},
	}
	f := cmd.Flags()
	f.StringVar(&file, "config", "", "the server's configuration, a `FILE` such as mirrorpool.json")
	f.BoolVar(&dryRun, "dry-run", false, "print what would be sent, and send nothing")
	f.BoolVar(&once, "once", false, "send it once")
	require(cmd, "config", "FILE")
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
	pool, err := probing.ReadPool(ctx, c)
	if ctx.Err() != nil {
		return failed(probing.ErrInterrupted)
	}
	if err != nil {
		return &failure{exitUsage, err}
	}
	snapshot, err := probing.Snapshot(ctx, c, pool)
	if err != nil {
		return failed(err)
	}
	send := publisher.Once
	if dryRun {
		send = publisher.Plan
	}
	return failed(send(ctx, snapshot, cmd.OutOrStdout()))
}
