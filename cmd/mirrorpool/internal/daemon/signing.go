package daemon

import (
	"time"

	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/dnspool/authority/dnssec"
)

// signingInterval is how often a zone is made at least: then signatures that are due are made anew, and keys enter
// another state.
const signingInterval = time.Hour

// loadKeys has the zone signed with the keys that a configuration asks for.
func (d *Daemon) loadKeys(c *config.Server) error {
	keys, err := dnssec.Read(c.DNS, c.StateDir, d.now())
	if err != nil {
		return err
	}
	if err := keys.Save(); err != nil {
		return err
	}
	if keys == nil && dnssec.WasSigned(c.StateDir, c.DNS.Zone) {
		d.log.Warn("the zone was signed before and is not any more; validators refuse it while its parent has a DS record",
			zap.String("zone", c.DNS.Zone))
	}
	d.setKeys(c, keys)
	return nil
}

// setKeys has the next zone signed with keys.
func (f *inForce) setKeys(c *config.Server, keys *dnssec.Keys) {
	if keys == nil {
		f.signer.SetKeys(nil, 0)
		return
	}
	f.signer.SetKeys(keys, c.DNS.DNSSEC.Validity)
}

// signaturesAge reports whether secondaries have had their signatures for so long that they need a new version of the
// zone: an eighth of the validity, so that theirs are never older than five eighths of it.
func (f *inForce) signaturesAge(c *config.Server) bool {
	return c.DNS.DNSSEC != nil && f.now().Sub(f.serialSince) >= c.DNS.DNSSEC.Validity/8
}
