package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"mirrorpool/config"
	"mirrorpool/config/source"
	"mirrorpool/dnspool/admin"
	"mirrorpool/dnspool/listen"
)

func newServeCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run the server until SIGINT or SIGTERM; SIGHUP reloads",
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
	tuneRuntime()
	hangup := make(chan os.Signal, 1) // from now on: a SIGHUP while the list is fetched must not end the program
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	sockets, err := listen.FromEnvironment()
	if err != nil {
		return &failure{exitFailure, err}
	}
	c, warnings, err := config.LoadServer(file)
	if err != nil {
		return &failure{exitUsage, err}
	}
	if err := checkStateDir(c.StateDir); err != nil {
		return &failure{exitUsage, err}
	}
	log, level, err := newLogger(c.Log, cmd.ErrOrStderr())
	if err != nil {
		return &failure{exitUsage, err}
	}
	defer log.Sync()
	// net/http has a few things to say that a hostile mirror can make it say.
	defer zap.RedirectStdLog(log.WithOptions(zap.IncreaseLevel(zap.ErrorLevel)))()
	logWarnings(log, warnings)
	var inForce atomic.Pointer[config.Server]
	inForce.Store(c)
	list, err := newList(&inForce, nil, log)
	if err != nil {
		return &failure{exitUsage, err}
	}
	switch err := list.Start(ctx); {
	case ctx.Err() != nil:
		return nil // stopped by a signal
	case err != nil:
		return &failure{startCode(err), err}
	}
	s, err := newServer(ctx, sockets, &inForce, file, list, log, level)
	if err != nil {
		return failed(err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.run(ctx) })
	g.Go(func() error { return s.tellManager(ctx) })
	g.Go(func() error { return reloadOnHangup(ctx, hangup, s) })
	return failed(g.Wait())
}

// startCode is the exit code where no list of mirrors can be had. To start again may help where its source
// does not answer, but not where the list is bad.
func startCode(err error) int {
	var refused *source.RefusedError
	if errors.As(err, &refused) {
		return exitUsage
	}
	return exitFailure
}

// reloadOnHangup reloads on each SIGHUP until ctx ends.
func reloadOnHangup(ctx context.Context, hangup <-chan os.Signal, s *server) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hangup:
			notifyManager(s.log, daemon.SdNotifyReloading+"\n"+daemon.SdNotifyMonotonicUsec())
			s.reload(ctx, admin.ReloadOptions{})
			notifyManager(s.log, daemon.SdNotifyReady)
		}
	}
}

func logWarnings(log *zap.Logger, warnings []*config.Error) {
	for _, group := range config.GroupWarnings(warnings) {
		log.Warn("suspicious configuration", zap.Error(group.First), zap.String("kind", string(group.First.Kind)), zap.Int("more_of_this_kind", group.More))
	}
}
