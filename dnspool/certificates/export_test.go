package certificates

import (
	"time"

	"github.com/caddyserver/certmagic"
)

// RenewAtOnce has certificates renewed when a thousandth of their time is over.
func (o Options) RenewAtOnce() Options {
	o.renewCheck = 200 * time.Millisecond
	o.tune = func(c *certmagic.Config) { c.DisableARI, c.RenewalWindowRatio = true, 0.999 }
	return o
}
