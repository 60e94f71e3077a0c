package main

import (
	"fmt"
	"slices"
	"strings"

	"go.uber.org/zap"

	"mirrorpool/config"
)

// checkSupport refuses a configuration that asks for what this version does not do: whoever relies on it would
// be let down in silence. It goes as the capabilities come.
func checkSupport(file string, c *config.Server) error {
	var keys []string
	for key, given := range map[string]bool{
		"dns.cookie_secret":  c.DNS.CookieSecret != "",
		"dns.rate_limit":     c.DNS.RateLimit != 0,
		"dns.geo":            c.DNS.Geo,
		"http.tls":           c.HTTP.TLS != nil,
		"http.sticky_secret": c.HTTP.StickySecret != "",
		"geoip.city":         c.GeoIP.City != "",
		"geoip.asn":          c.GeoIP.ASN != "",
	} {
		if given {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	slices.Sort(keys)
	return &config.Error{File: file, Err: fmt.Errorf("this version does not support %s yet: take it out of the configuration", strings.Join(keys, ", "))}
}

// warnOfUnheeded says what a list of mirrors asks for that this version does not do.
func warnOfUnheeded(pool *config.Pool, log *zap.Logger) {
	n := 0
	for i := range pool.Mirrors {
		if m := &pool.Mirrors[i]; !m.ServeOnly.Empty() || !m.Exclude.Empty() {
			n++
		}
	}
	if n > 0 {
		log.Warn("this version does not heed serve_only and exclude: all clients may be sent to these mirrors", zap.Int("mirrors", n))
	}
}
