package health

import (
	"net/url"

	"mirrorpool/config"
)

// settings are those of the configuration, with their URLs parsed.
type settings struct {
	config.Health
	dnsURL       *url.URL // nil if role DNS is not judged
	referenceURL *url.URL // nil if there is none
}

// parseSettings parses the URLs of h. Without checkDNS, role DNS is not judged.
func parseSettings(h config.Health, checkDNS bool) (s settings, err error) {
	s.Health = h
	if checkDNS && h.DNSURL != "" {
		if s.dnsURL, err = url.Parse(h.DNSURL); err != nil {
			return settings{}, err
		}
	}
	if h.ReferenceURL != "" && h.Enabled {
		if s.referenceURL, err = url.Parse(h.ReferenceURL); err != nil {
			return settings{}, err
		}
	}
	return s, nil
}

func (s *settings) policy() Policy {
	return Policy{Interval: s.Interval, Timeout: s.Timeout, Rise: s.Rise, Fall: s.Fall}
}
