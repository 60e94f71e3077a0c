package main

import (
	"context"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"
)

// notifyManager sends a state to the service manager, if there is one (sd_notify(3)).
func notifyManager(log *zap.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("sd_notify failed", zap.Error(err))
	}
}

// watchdogInterval is half of WATCHDOG_USEC, as sd_watchdog_enabled(3) recommends; 0 if unset.
func watchdogInterval() time.Duration {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return 0
	}
	return interval / 2
}

// tellManager tells the service manager when the server is ready, that it is alive as long as the checks go on, and when
// it is about to end.
func (s *server) tellManager(ctx context.Context) error {
	var watchdog <-chan time.Time
	if every := watchdogInterval(); every > 0 {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		watchdog = ticker.C
	}
	opened := s.opened
	for {
		select {
		case <-opened:
			opened = nil
			for _, addr := range s.sockets.Unused() {
				s.log.Warn("inherited socket matches no configured address; closed", zap.String("socket", addr))
			}
			notifyManager(s.log, daemon.SdNotifyReady)
		case <-watchdog:
			if opened != nil || s.ready() == nil { // else it is to be restarted
				notifyManager(s.log, daemon.SdNotifyWatchdog)
			}
		case <-ctx.Done():
			notifyManager(s.log, daemon.SdNotifyStopping)
			return nil
		}
	}
}
