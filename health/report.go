package health

import (
	"net/netip"
	"time"
)

// A Report is what the checker knew at one moment. It is not changed once made.
type Report struct {
	At      time.Time
	Mirrors map[string]MirrorReport // by url_prefix
}

// A MirrorReport is what is known of one mirror.
type MirrorReport struct {
	// Endpoints holds each address in each of its roles: by address, IPv4 first, then by role.
	Endpoints []Endpoint
	// Problem says why addresses are missing or may be out of date; empty if all is well.
	Problem string
}

// An Endpoint is a mirror at one address, in one role.
type Endpoint struct {
	Address netip.Addr
	Role    Role
	Verdict
}
