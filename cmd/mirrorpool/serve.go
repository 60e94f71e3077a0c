package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"mirrorpool/config"
)

func newServeCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run the server until SIGINT or SIGTERM; SIGHUP reloads the list of mirrors",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serve(cmd.Context(), cmd, file)
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "the server's configuration, mirrorpool.json")
	cmd.MarkFlagRequired("config")
	return cmd
}

func serve(ctx context.Context, cmd *cobra.Command, file string) error {
	c, warnings, err := config.LoadServer(file)
	if err != nil {
		return &failure{exitUsage, err}
	}
	log, err := newLogger(c.Log, cmd.ErrOrStderr())
	if err != nil {
		return &failure{exitUsage, err}
	}
	defer log.Sync()
	logWarnings(log, warnings)
	pool, err := loadPool(c.Mirrors, log)
	if err != nil {
		return &failure{exitUsage, err}
	}
	s, err := newServer(c, pool, log)
	if err != nil {
		return failed(err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.run(ctx) })
	g.Go(func() error { return reloadOnHangup(ctx, s) })
	return failed(g.Wait())
}

// reloadOnHangup reloads on each SIGHUP until ctx ends.
func reloadOnHangup(ctx context.Context, s *server) error {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hangup:
			s.reload()
		}
	}
}

func logWarnings(log *zap.Logger, warnings []*config.Error) {
	for _, w := range warnings {
		log.Warn("suspicious configuration", zap.Error(w))
	}
}
