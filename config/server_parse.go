package config

import (
	"encoding/base64"
	"errors"
	"strings"
	"time"
)

// day and year bound durations: a longer one is a mistake.
const (
	day  = 24 * time.Hour
	year = 365 * day
)

// defaultServer is the configuration that an empty file means, but for the values that are made from
// others: hostmaster and dns_url from the zone, and those of publish from dns. The schema repeats it
// for editors; a test compares them.
func defaultServer() *Server {
	return &Server{
		Mirrors:        "mirrors.json",
		MirrorsRefresh: 5 * time.Minute,
		MirrorsGuard:   0.5,
		DNS: DNS{
			Listen:     []string{"127.0.0.1:5300"},
			Names:      []string{"@"},
			TTL:        60 * time.Second,
			TTLMin:     5 * time.Second,
			MaxAnswers: 2,
			UDPSize:    1232,
		},
		HTTP: HTTP{
			Listen:   []string{"127.0.0.1:8080"},
			BasePath: "/",
			Sticky:   10 * time.Minute,
		},
		Selection: Selection{Geo: true, Near: 1.5, MinCandidates: 3, MaxShare: 0.5},
		Admin:     Admin{Listen: "127.0.0.1:8053"},
		Health: Health{
			Enabled:        true,
			Interval:       30 * time.Second,
			Timeout:        10 * time.Second,
			Rise:           2,
			Fall:           3,
			StartupTimeout: 5 * time.Second,
			Path:           "project/trace",
			MaxLag:         3 * time.Hour,
			DNSURL:         "http://{zone}/tails/project/trace",
			PanicThreshold: 0.5,
			AddressGrace:   time.Hour,
			MaxUnresolved:  10 * time.Minute,
			UserAgent:      "mirrorpool-healthcheck (mirror pool monitor)",
		},
		Files: Files{
			Interval: 6 * time.Hour, Unpublished: "404", OnDemand: true, HashRate: 50e6, VerifyRate: 1e6, VerifyAgent: "Wget/1.21.3",
			FromOrigin: []string{"*.sig", "*.asc", "*.sha256", "*.sha512", "*.sha256sum", "*.sha512sum", "SHA256SUMS*", "SHA512SUMS*"},
		},
		Stats: Stats{Keep: 400 * day},
		Log:   Log{Level: "info", Format: "auto"},
	}
}

// ParseServer checks data, the text of a mirrorpool.json, and fills in defaults; file is its name in
// errors, and paths in it are relative to that file's folder.
//
// An optional key of null is as if it were missing. Unknown keys are errors, as are wrong types and values.
// Then the server is nil, and the error joins
// one [*Error] per fault ([Errors] takes it apart). Warnings come in both cases. No error quotes a
// secret.
//
// Durations have these bounds: mirrors_refresh 50ms to 168h; dns.ttl, dns.ttl_min and publish.ttl 1s to
// 24h in whole seconds; http.sticky 0s (off) to 24h; health.interval 50ms to 24h, timeout 1ms to 10m,
// startup_timeout 0s to 1h, max_lag 1ms to 8760h, max_age 1ms to 8760h or 0s (off), address_grace and
// max_unresolved 0s to 8760h; files.interval 1s to 168h; mail.after 1m to 168h; stats.keep 0s (off) to 3650 days, in
// whole days. "30d" means 720h.
func ParseServer(file string, data []byte) (*Server, []*Error, error) {
	d, faults := readDocument(file, data)
	if d.root == nil {
		return nil, nil, join(d.errorsOf(faults))
	}
	c := &checker{document: d, rules: serverRules(), faults: faults, bad: make(map[*node]bool)}
	c.dropAbsent(d.root, c.rules.text, false)
	c.checkSchema(d.root)
	var s *Server
	if d.root.isObject() {
		s = c.server(object{c, d.root})
	}
	warnings := d.errorsOf(c.warnings)
	if len(c.faults) > 0 {
		return nil, warnings, join(d.errorsOf(c.faults))
	}
	return s, warnings, nil
}

// server reads the whole file, and applies the rules that need more than one section of it.
func (c *checker) server(root object) *Server {
	s := defaultServer()
	c.mirrors(root, s)
	root.duration("mirrors_refresh", &s.MirrorsRefresh, 50*time.Millisecond, 7*day, 1)
	c.mirrorsKeys(root, s)
	root.float("mirrors_guard", &s.MirrorsGuard)
	root.path("state_dir", &s.StateDir)
	c.watch(root, s) // before the faces, which it may turn off
	c.dns(root, &s.DNS)
	c.http(root.object("http"), &s.HTTP)
	selection := root.object("selection")
	selection.bool("geo", &s.Selection.Geo)
	selection.float("near", &s.Selection.Near)
	selection.int("min_candidates", &s.Selection.MinCandidates)
	selection.float("max_share", &s.Selection.MaxShare)
	selection.float("max_load", &s.Selection.MaxLoad)
	c.admin(root.object("admin"), &s.Admin)
	geoip := root.object("geoip")
	geoip.path("city", &s.GeoIP.City)
	geoip.path("asn", &s.GeoIP.ASN)
	if n := root.object("dns").get("geo"); n != nil && s.DNS.Geo && s.GeoIP == (GeoIP{}) {
		c.warn(n, WarnGeoWithoutData, `no answer goes by place without a database; want "geoip": {"city": "FILE"}`)
	}
	c.health(root.object("health"), &s.Health, s.DNS.Zone)
	c.files(root.object("files"), &s.Files)
	c.warnUnverified(root.object("files"), s)
	for _, n := range root.items("publish") {
		s.Publish = append(s.Publish, c.publish(object{c, n}, s.DNS))
	}
	if n := root.get("publish"); len(s.Publish) > 0 && s.Health.DNSURL == "" && !root.object("health").has("dns_url") {
		c.fail(n, "publish needs dns.zone or health.dns_url: mirrors are checked for DNS with that URL")
	}
	c.mail(root, s)
	root.object("stats").duration("keep", &s.Stats.Keep, 0, 10*year, day)
	log := root.object("log")
	log.string("level", &s.Log.Level)
	log.string("format", &s.Log.Format)
	if n := root.object("http").object("tls").get("acme"); n != nil && s.StateDir == "" && len(c.faults) == 0 {
		c.fail(n, "want state_dir with it: certificates that each start orders anew would soon exceed the authority's limits")
	}
	c.distinctListeners(root, s)
	c.warnNoReference(root, s)
	return s
}

// warnNoReference warns where mirrors alone decide what is fresh.
func (c *checker) warnNoReference(root object, s *Server) {
	n := root.object("health").node
	if n == nil {
		n = root.node
	}
	if len(c.faults) == 0 && s.Health.Enabled && s.Health.ReferenceURL == "" {
		c.warn(n, WarnNoReference, `health.reference_url is missing; want the https URL of the project's own trace, `+
			`or the mirrors' majority decides which content is current`)
	}
}

// mirrors reads where the pool comes from.
func (c *checker) mirrors(root object, s *Server) {
	n := root.get("mirrors")
	if n == nil {
		s.Mirrors = c.resolve(&node{value: s.Mirrors})
		return
	}
	if s.Mirrors = n.text(); !strings.Contains(s.Mirrors, "://") {
		root.path("mirrors", &s.Mirrors)
		return
	}
	u, err := parseURL(s.Mirrors, webPorts)
	switch {
	case err != nil:
	case u.Scheme == "http" && !IsLoopback(u.Hostname()):
		err = errors.New("http only on this machine: an attacker on the network path could replace the list")
	case strings.Contains(s.Mirrors, "#"):
		err = errors.New("no fragment")
	}
	if err != nil {
		c.failValue(n, "a path or an https URL", err)
		return
	}
	s.Mirrors = u.String()
}

// mirrorsKeys reads the keys that sign the list of mirrors: one, or a list.
func (c *checker) mirrorsKeys(root object, s *Server) {
	n := root.get("mirrors_key")
	if n == nil || n.value == "" {
		return
	}
	nodes := []*node{n}
	if n.kind == arrayValue {
		nodes = root.items("mirrors_key")
	}
	for _, n := range nodes {
		s.MirrorsKeys = append(s.MirrorsKeys, c.minisignKey(n))
	}
}

// minisignKey checks a minisign public key: "Ed", the key's id and the key, in base64.
func (c *checker) minisignKey(n *node) string {
	key, err := base64.StdEncoding.DecodeString(n.text())
	if err != nil || len(key) != 42 || string(key[:2]) != "Ed" {
		c.fail(n, "want a minisign public key (56 characters, the last line of its .pub file), got %s", quote(n.text()))
	}
	return n.text()
}

// distinctListeners files a fault of an address that is given twice, by the file or by default. Port 0
// is another port each time.
func (c *checker) distinctListeners(root object, s *Server) {
	seen := make(map[string]*node)
	list := root.object("dns").items("listen")
	list = append(list, root.object("http").items("listen")...)
	list = append(list, root.object("http").object("tls").items("listen")...)
	for _, section := range [...]string{"admin", "watch"} {
		if n := root.object(section).get("listen"); n != nil {
			list = append(list, n)
		}
	}
	for _, n := range list {
		address, err := parseListener(n.text())
		if err != nil || strings.HasSuffix(address, ":0") {
			continue
		}
		if first := seen[address]; first != nil {
			c.fail(n, "%s is given already at %s", quote(address), first.pointer())
			continue
		}
		seen[address] = n
	}
	for section, addresses := range map[string][]string{"dns": s.DNS.Listen, "http": s.HTTP.Listen, "admin": {s.Admin.Listen}} {
		if root.object(section).has("listen") {
			continue
		}
		for _, address := range addresses {
			if n := seen[address]; n != nil {
				c.fail(n, "%s is the default of /%s/listen already", quote(address), section)
			}
		}
	}
}

// has reports whether there is a value at key, faulty or not.
func (o object) has(key string) bool { return o.node != nil && o.node.member(key) != nil }

// text gives the string at key, faulty or not, or empty.
func (o object) text(key string) string {
	if !o.has(key) {
		return ""
	}
	return o.node.member(key).text()
}
