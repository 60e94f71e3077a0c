package health

import (
	"errors"
	"net/netip"

	"mirrorpool/config"
)

// errPrivate is why an address learnt through DNS is not probed.
var errPrivate = errors.New("is not a public address")

// checkPublic refuses addresses that are not on the public Internet. Whoever runs a mirror's DNS could
// otherwise point our probes at the inside of our own network.
func checkPublic(addr netip.Addr) error {
	if !config.IsPublic(addr) {
		return errPrivate
	}
	return nil
}
