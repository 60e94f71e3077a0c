package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/dnspool/listen"
)

// checkListeners returns an error if a socket cannot be opened at one of the addresses that c names, before the
// mirrors are checked rather than after. It warns where another process shares an address: that is right while a new
// copy of the program takes over from an old one, and a mistake otherwise, since each gets a part of what comes in.
func checkListeners(ctx context.Context, sockets *listen.Opener, c *config.Server, log *zap.Logger) error {
	var admin, https []string
	if c.HTTP.TLS != nil {
		https = c.HTTP.TLS.Listen
	}
	if c.Admin.Listen != "" {
		admin = append(admin, c.Admin.Listen)
	}
	return errors.Join(
		checkAddresses(ctx, sockets, log, "dns", c.DNS.Listen, "udp", "tcp"),
		checkAddresses(ctx, sockets, log, "http", c.HTTP.Listen, "tcp"),
		checkAddresses(ctx, sockets, log, "http.tls", https, "tcp"),
		checkAddresses(ctx, sockets, log, "admin", admin, "tcp"))
}

func checkAddresses(
	ctx context.Context, sockets *listen.Opener, log *zap.Logger, face string, addrs []string, networks ...string,
) error {
	for _, addr := range addrs {
		for _, network := range networks {
			taken, err := sockets.Check(ctx, network, addr)
			if err != nil {
				return fmt.Errorf("%s.listen: cannot listen at %s over %s: %w%s", face, addr, network, err, listenHint(err))
			}
			if taken {
				log.Warn("address is shared with another process, which receives part of the traffic",
					zap.String("address", addr), zap.String("transport", network))
			}
		}
	}
	return nil
}

// listenHint says what to do where a socket cannot be opened.
func listenHint(err error) string {
	switch {
	case errors.Is(err, syscall.EACCES) && os.Getenv("INVOCATION_ID") != "":
		return "; systemd has handed over no socket for it: see 'systemctl status mirrorpool.socket', and list the address there"
	case errors.Is(err, syscall.EACCES):
		return "; ports below 1024 need CAP_NET_BIND_SERVICE, or a socket of systemd"
	case errors.Is(err, syscall.EADDRINUSE):
		return "; see which process has it: ss -lntup"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "; this host does not have the address: ip address"
	default:
		return ""
	}
}
