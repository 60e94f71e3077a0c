package certificates

import (
	"context"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"
)

// RenewalInfo asks the authority when it suggests to renew the certificate for a name, as certmagic does.
func (a *ACME) RenewalInfo(ctx context.Context, name string) (acme.RenewalInfo, error) {
	m := a.now.Load()
	return m.magic.Issuers[0].(certmagic.RenewalInfoGetter).GetRenewalInfo(ctx, m.cache.AllMatchingCertificates(name)[0])
}

// RenewAtOnce has certificates renewed when a thousandth of their time is over.
func (o Options) RenewAtOnce() Options {
	o.renewCheck = 200 * time.Millisecond
	o.tune = func(c *certmagic.Config) { c.DisableARI, c.RenewalWindowRatio = true, 0.999 }
	return o
}

// PresentALPN starts to give an answer to a TLS-ALPN-01 challenge for a name.
func (a *ACME) PresentALPN(ctx context.Context, name string) error {
	return alpnSolver{&a.answers}.Present(ctx, acme.Challenge{
		Identifier: acme.Identifier{Type: "dns", Value: name}, KeyAuthorization: "token.thumbprint",
	})
}
