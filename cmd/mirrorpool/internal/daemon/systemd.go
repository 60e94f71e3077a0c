package daemon

import (
	"context"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"

	"mirrorpool/dnspool/admin"
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

// tellManager tells the service manager when the daemon is ready, that it is alive as long as the checks go on, and
// when it is about to end.
func (d *Daemon) tellManager(ctx context.Context) error {
	var watchdog <-chan time.Time
	if every := watchdogInterval(); every > 0 {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		watchdog = ticker.C
	}
	opened := d.Opened()
	for {
		select {
		case <-opened:
			opened = nil
			for _, addr := range d.o.Sockets.Unused() {
				d.log.Warn("inherited socket matches no configured address; closed", zap.String("socket", addr))
			}
			notifyManager(d.log, daemon.SdNotifyReady)
		case <-watchdog:
			if opened != nil || d.alive() == nil { // else it is to be restarted
				notifyManager(d.log, daemon.SdNotifyWatchdog)
			}
		case <-ctx.Done():
			notifyManager(d.log, daemon.SdNotifyStopping)
			return nil
		}
	}
}

// reloadOnHangup reloads on each SIGHUP until ctx ends.
func (d *Daemon) reloadOnHangup(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.o.Hangup:
			notifyManager(d.log, daemon.SdNotifyReloading+"\n"+daemon.SdNotifyMonotonicUsec())
			d.reload(ctx, admin.ReloadOptions{})
			notifyManager(d.log, daemon.SdNotifyReady)
		}
	}
}
