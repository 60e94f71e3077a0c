package config

import "reflect"

// A setting is a key of mirrorpool.json, and where its value is.
type setting struct {
	key   string
	field func(*Server) any // a pointer to the value
	live  bool              // it can change while the server runs
}

// settings lists all keys, sections that change as a whole under their own name. A test compares it with the
// schema. What is not live decides how something was opened, a socket or a file, or speaks of the start.
var settings = []setting{
	{"mirrors", func(s *Server) any { return &s.Mirrors }, false},
	{"mirrors_refresh", func(s *Server) any { return &s.MirrorsRefresh }, true},
	{"mirrors_key", func(s *Server) any { return &s.MirrorsKeys }, true},
	{"mirrors_guard", func(s *Server) any { return &s.MirrorsGuard }, true},
	{"state_dir", func(s *Server) any { return &s.StateDir }, false},
	{"dns.listen", func(s *Server) any { return &s.DNS.Listen }, false},
	{"dns.zone", func(s *Server) any { return &s.DNS.Zone }, false},
	{"dns.names", func(s *Server) any { return &s.DNS.Names }, true},
	{"dns.nameservers", func(s *Server) any { return &s.DNS.Nameservers }, true},
	{"dns.hostmaster", func(s *Server) any { return &s.DNS.Hostmaster }, true},
	{"dns.zone_file", func(s *Server) any { return &s.DNS.ZoneFile }, true},
	{"dns.ttl", func(s *Server) any { return &s.DNS.TTL }, true},
	{"dns.ttl_min", func(s *Server) any { return &s.DNS.TTLMin }, true},
	{"dns.max_answers", func(s *Server) any { return &s.DNS.MaxAnswers }, true},
	{"dns.udp_size", func(s *Server) any { return &s.DNS.UDPSize }, true},
	{"dns.nsid", func(s *Server) any { return &s.DNS.NSID }, true},
	{"dns.version", func(s *Server) any { return &s.DNS.Version }, true},
	{"dns.cookie_secret", func(s *Server) any { return &s.DNS.CookieSecrets }, true},
	{"dns.rate_limit", func(s *Server) any { return &s.DNS.RateLimit }, true},
	{"dns.status_clients", func(s *Server) any { return &s.DNS.StatusClients }, true},
	{"dns.geo", func(s *Server) any { return &s.DNS.Geo }, true},
	{"dns.notify", func(s *Server) any { return &s.DNS.Notify }, true},
	{"dns.notify_source", func(s *Server) any { return &s.DNS.NotifySource }, true},
	{"dns.allow_transfer", func(s *Server) any { return &s.DNS.AllowTransfer }, true},
	{"dns.tsig_keys", func(s *Server) any { return &s.DNS.TSIGKeys }, true},
	{"dns.caa", func(s *Server) any { return &s.DNS.CAA }, true},
	{"dns.dnssec", func(s *Server) any { return &s.DNS.DNSSEC }, true},
	{"http.listen", func(s *Server) any { return &s.HTTP.Listen }, false},
	{"http.base_path", func(s *Server) any { return &s.HTTP.BasePath }, true},
	{"http.trusted_proxies", func(s *Server) any { return &s.HTTP.TrustedProxies }, true},
	{"http.sticky", func(s *Server) any { return &s.HTTP.Sticky }, true},
	{"http.sticky_secret", func(s *Server) any { return &s.HTTP.StickySecret }, true},
	{"http.metalinks", func(s *Server) any { return &s.HTTP.NoMetalinks }, true},
	{"http.well_known", func(s *Server) any { return &s.HTTP.WellKnown }, true},
	{"http.public_stats", func(s *Server) any { return &s.HTTP.PublicStats }, true},
	{"http.tls", func(s *Server) any { return &s.HTTP.TLS }, false},
	{"http.tls.acme", func(s *Server) any { return &s.HTTP.ACME }, true},
	{"selection", func(s *Server) any { return &s.Selection }, true},
	{"admin.listen", func(s *Server) any { return &s.Admin.Listen }, false},
	{"admin.token_file", func(s *Server) any { return &s.Admin.TokenFile }, true},
	{"geoip.city", func(s *Server) any { return &s.GeoIP.City }, true},
	{"geoip.asn", func(s *Server) any { return &s.GeoIP.ASN }, true},
	{"health.enabled", func(s *Server) any { return &s.Health.Enabled }, true},
	{"health.interval", func(s *Server) any { return &s.Health.Interval }, true},
	{"health.timeout", func(s *Server) any { return &s.Health.Timeout }, true},
	{"health.rise", func(s *Server) any { return &s.Health.Rise }, true},
	{"health.fall", func(s *Server) any { return &s.Health.Fall }, true},
	{"health.startup_timeout", func(s *Server) any { return &s.Health.StartupTimeout }, false},
	{"health.path", func(s *Server) any { return &s.Health.Path }, true},
	{"health.reference_url", func(s *Server) any { return &s.Health.ReferenceURL }, true},
	{"health.max_lag", func(s *Server) any { return &s.Health.MaxLag }, true},
	{"health.max_age", func(s *Server) any { return &s.Health.MaxAge }, true},
	{"health.dns_url", func(s *Server) any { return &s.Health.DNSURL }, true},
	{"health.panic_threshold", func(s *Server) any { return &s.Health.PanicThreshold }, true},
	{"health.allow_private", func(s *Server) any { return &s.Health.AllowPrivate }, true},
	{"health.address_grace", func(s *Server) any { return &s.Health.AddressGrace }, true},
	{"health.max_unresolved", func(s *Server) any { return &s.Health.MaxUnresolved }, true},
	{"health.proxy", func(s *Server) any { return &s.Health.Proxy }, true},
	{"health.source", func(s *Server) any { return &s.Health.Source }, true},
	{"health.family", func(s *Server) any { return &s.Health.Family }, true},
	{"health.user_agent", func(s *Server) any { return &s.Health.UserAgent }, true},
	{"files.origin", func(s *Server) any { return &s.Files.Origin }, true},
	{"files.fallback", func(s *Server) any { return &s.Files.Fallback }, true},
	{"files.interval", func(s *Server) any { return &s.Files.Interval }, true},
	{"files.rewritten", func(s *Server) any { return &s.Files.Rewritten }, true},
	{"files.unpublished", func(s *Server) any { return &s.Files.Unpublished }, true},
	{"files.on_demand", func(s *Server) any { return &s.Files.OnDemand }, true},
	{"files.hashes", func(s *Server) any { return &s.Files.Hashes }, true},
	{"files.hash_rate", func(s *Server) any { return &s.Files.HashRate }, true},
	{"files.verify_rate", func(s *Server) any { return &s.Files.VerifyRate }, true},
	{"files.verify_agent", func(s *Server) any { return &s.Files.VerifyAgent }, true},
	{"files.min_rate", func(s *Server) any { return &s.Files.MinRate }, true},
	{"files.from_origin", func(s *Server) any { return &s.Files.FromOrigin }, true},
	{"publish", func(s *Server) any { return &s.Publish }, true},
	{"mail", func(s *Server) any { return &s.Mail }, true},
	{"watch", func(s *Server) any { return &s.Watch }, false},
	{"stats.keep", func(s *Server) any { return &s.Stats.Keep }, true},
	{"log.level", func(s *Server) any { return &s.Log.Level }, true},
	{"log.format", func(s *Server) any { return &s.Log.Format }, false},
}

// RestartKeys lists the keys that a reload does not put in force.
func RestartKeys() []string {
	var keys []string
	for _, s := range settings {
		if !s.live {
			keys = append(keys, s.key)
		}
	}
	return keys
}

// MergeLive merges the keys that a reload can put in force: it returns the configuration that a running server can go
// on with when old is in force and next is what the file says now: old, with what can change without a restart taken
// from next. applied and restart name the keys that differ, of either sort. No argument is changed.
func MergeLive(old, next *Server) (now *Server, applied, restart []string) {
	merged := *old
	now = &merged
	waiting := *next
	if (old.HTTP.ACME == nil) != (next.HTTP.ACME == nil) {
		waiting.HTTP.ACME, restart = old.HTTP.ACME, []string{"http.tls.acme"}
		next = &waiting
	}
	if old.DNS.Zone != next.DNS.Zone { // what follows from the zone waits with it
		waiting.DNS.Hostmaster, waiting.DNS.Nameservers = old.DNS.Hostmaster, old.DNS.Nameservers
		waiting.Health.DNSURL = old.Health.DNSURL
		next = &waiting
	}
	for _, s := range settings {
		to, from := reflect.ValueOf(s.field(now)).Elem(), reflect.ValueOf(s.field(next)).Elem()
		switch {
		case reflect.DeepEqual(to.Interface(), from.Interface()):
		case s.live:
			to.Set(from)
			applied = append(applied, s.key)
		default:
			restart = append(restart, s.key)
		}
	}
	return now, applied, restart
}
