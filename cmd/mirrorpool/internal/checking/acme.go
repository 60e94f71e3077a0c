package checking

import (
	"slices"
	"strings"

	"mirrorpool/config"
	"mirrorpool/dnspool/authority"
	"mirrorpool/dnspool/certificates"
)

// checkACME returns an error if a certificate can never be obtained under a configuration.
func checkACME(c *config.Server) error {
	if err := certificates.Check(c); err != nil || c.HTTP.ACME == nil {
		return err
	}
	zoneFile, err := authority.LoadZoneFile(c.DNS)
	if err != nil {
		return nil // it has been reported
	}
	for _, name := range c.HTTP.ACME.Names {
		if !slices.Equal(certificates.Challenges(c, name), []string{"dns-01"}) || !certificates.ReachOf(c, name).OwnZone {
			continue
		}
		if err := zoneFile.CheckTXT(c.DNS, "_acme-challenge."+strings.TrimPrefix(name, "*.")+"."); err != nil {
			return err
		}
	}
	return nil
}

// refusedByCAA returns the names for which CAA records of our zone keep each authority in the configuration from
// issuing. Authorities whose domain in such records is not known are taken for permitted.
func refusedByCAA(c *config.Server) (names []string) {
	if c.HTTP.ACME == nil || !servesOthers(&c.DNS) {
		return nil
	}
	zoneFile, err := authority.LoadZoneFile(c.DNS)
	if err != nil {
		return nil // it has been reported
	}
	for _, name := range c.HTTP.ACME.Names {
		host, wildcard := strings.CutPrefix(name, "*.")
		records := authority.RelevantCAA(c.DNS, zoneFile, host+".")
		permits := func(directory string) bool {
			domain := certificates.CAADomain(directory)
			return domain == "" || config.CAAPermits(records, domain, wildcard, certificates.Challenges(c, name))
		}
		if !slices.ContainsFunc(c.HTTP.ACME.Directories, permits) {
			names = append(names, name)
		}
	}
	return names
}
