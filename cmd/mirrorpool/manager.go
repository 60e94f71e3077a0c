package main

import (
	"context"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config/listen"
)

// notifyManager tells a service manager how we are (sd_notify(3)), if one wants to know.
func notifyManager(log *zap.Logger, state string) {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return
	}
	if strings.HasPrefix(socket, "@") {
		socket = "\x00" + socket[1:] // in the abstract namespace
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err == nil {
		_, err = conn.Write([]byte(state))
		conn.Close()
	}
	if err != nil {
		log.Warn("cannot tell the service manager how things are", zap.Error(err))
	}
}

// watchdogTime is how often a service manager wants to hear of us: half of what it has patience for, as it asks for; 0 if it
// does not care.
func watchdogTime() time.Duration {
	usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if pid := os.Getenv("WATCHDOG_PID"); err != nil || usec <= 0 || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	return time.Duration(usec) * time.Microsecond / 2
}

// tellManager tells the service manager when we are ready, that we are alive as long as the checks go on, and when we are
// about to end.
func (s *server) tellManager(ctx context.Context, sockets *listen.Inherited) error {
	var watchdog <-chan time.Time
	if every := watchdogTime(); every > 0 {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		watchdog = ticker.C
	}
	opened := s.opened
	for {
		select {
		case <-opened:
			opened = nil
			for _, addr := range sockets.Unused() {
				s.log.Warn("a socket of the service manager is at no address of the configuration", zap.String("socket", addr))
			}
			notifyManager(s.log, "READY=1")
		case <-watchdog:
			if opened != nil || s.ready() == nil { // else it shall restart us
				notifyManager(s.log, "WATCHDOG=1")
			}
		case <-ctx.Done():
			notifyManager(s.log, "STOPPING=1")
			return nil
		}
	}
}
