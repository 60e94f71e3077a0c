package daemon

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/config/statefile"
	"mirrorpool/dnspool/listen"
)

// Serve runs a daemon on the configuration in a file until ctx ends. It logs to stderr. The error is a [*ConfigError]
// where the configuration, a file that it names, or the list of mirrors is to blame.
func Serve(ctx context.Context, file, version string, stderr io.Writer) error {
	tuneRuntime()
	hangup := make(chan os.Signal, 1) // from now on: a SIGHUP while the list is fetched must not end the program
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	sockets, err := listen.FromEnvironment()
	if err != nil {
		return err
	}
	c, warnings, err := config.LoadServer(file)
	if err != nil {
		return &ConfigError{err}
	}
	if err := statefile.CheckFolder(c.StateDir); err != nil {
		return &ConfigError{err}
	}
	log, level, err := NewLogger(c.Log, stderr)
	if err != nil {
		return &ConfigError{err}
	}
	defer log.Sync()
	// net/http has a few things to say that a hostile mirror can make it say.
	defer zap.RedirectStdLog(log.WithOptions(zap.IncreaseLevel(zap.ErrorLevel)))()
	logWarnings(log, warnings)
	d, err := New(ctx, Options{Config: c, File: file, Version: version, Sockets: sockets, Hangup: hangup, Log: log, Level: level})
	switch {
	case ctx.Err() != nil:
		return nil // stopped by a signal
	case err != nil:
		return err
	}
	return d.Run(ctx)
}
