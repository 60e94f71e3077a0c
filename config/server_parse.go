package config

import (
	"encoding/base64"
	"errors"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"time"
	"unicode"
)

// A day and a year bound durations; nobody means a longer one.
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
			UserAgent:      "mirrorpool-healthcheck (mirror pool monitor)",
		},
		Log: Log{Level: "info", Format: "auto"},
	}
}

// ParseServer checks data, the text of a mirrorpool.json, and fills in defaults; file is its name in
// errors, and paths in it are relative to that file's folder.
//
// An optional key of null is as if it were missing. Unknown keys are errors, as are wrong types and values. Then the server is nil, and the error joins
// one [*Error] per fault ([Errors] takes it apart). Warnings come in both cases. No error quotes a
// secret.
//
// Durations have these bounds: mirrors_refresh 50ms to 168h; dns.ttl, dns.ttl_min and publish.ttl 1s to
// 24h in whole seconds; http.sticky 0s (off) to 24h; health.interval 50ms to 24h, timeout 1ms to 10m,
// startup_timeout 0s to 1h, max_lag 1ms to 8760h, max_age 1ms to 8760h or 0s (off).
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
	c.dns(root, &s.DNS)
	c.http(root.object("http"), &s.HTTP)
	selection := root.object("selection")
	selection.bool("geo", &s.Selection.Geo)
	selection.float("near", &s.Selection.Near)
	selection.int("min_candidates", &s.Selection.MinCandidates)
	selection.float("max_share", &s.Selection.MaxShare)
	c.admin(root.object("admin"), &s.Admin)
	geoip := root.object("geoip")
	geoip.path("city", &s.GeoIP.City)
	geoip.path("asn", &s.GeoIP.ASN)
	if n := root.object("dns").get("geo"); n != nil && s.DNS.Geo && s.GeoIP == (GeoIP{}) {
		c.warn(n, WarnGeoWithoutData, `no answer goes by place without a database; want "geoip": {"city": "FILE"}`)
	}
	c.health(root.object("health"), &s.Health, s.DNS.Zone)
	for _, n := range root.items("publish") {
		s.Publish = append(s.Publish, c.publish(object{c, n}, s.DNS))
	}
	if n := root.get("publish"); len(s.Publish) > 0 && s.Health.DNSURL == "" && !root.object("health").has("dns_url") {
		c.fail(n, "want dns.zone or health.dns_url to be given, by which is checked who may be in DNS")
	}
	log := root.object("log")
	log.string("level", &s.Log.Level)
	log.string("format", &s.Log.Format)
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
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		err = errors.New("http only on this machine: who can change the list on its way owns the pool")
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

// dns reads the section of that name.
func (c *checker) dns(root object, d *DNS) {
	o := root.object("dns")
	o.listeners("listen", &d.Listen)
	c.zone(root, o, d)
	o.path("zone_file", &d.ZoneFile)
	o.duration("ttl", &d.TTL, time.Second, day, time.Second)
	if n := o.duration("ttl_min", &d.TTLMin, time.Second, day, time.Second); n == nil {
		d.TTLMin = min(d.TTLMin, d.TTL) // the default gives way
	} else if d.TTLMin > d.TTL {
		c.fail(n, "want at most the ttl of %s, got %s", short(d.TTL), quote(n.text()))
	}
	o.int("max_answers", &d.MaxAnswers)
	o.int("udp_size", &d.UDPSize)
	o.string("nsid", &d.NSID)
	o.string("version", &d.Version)
	var secrets string
	if o.string("cookie_secret", &secrets); secrets != "" {
		d.CookieSecrets = strings.Split(secrets, ",")
	}
	o.int("rate_limit", &d.RateLimit)
	o.networks("status_clients", &d.StatusClients)
	o.bool("geo", &d.Geo)
	for _, n := range o.items("notify") {
		target, err := parseNotified(n.text())
		if err != nil {
			c.failValue(n, `a target such as "192.0.2.53:53"`, err)
		}
		d.Notify = append(d.Notify, target)
	}
	o.sources("notify_source", &d.NotifySource)
	for _, n := range o.items("allow_transfer") {
		who, err := parseTransferClient(n.text())
		if err != nil {
			c.failValue(n, `a network such as "192.0.2.0/24", or the name of a TSIG key`, err)
		}
		d.AllowTransfer = append(d.AllowTransfer, who)
	}
	for _, n := range o.items("tsig_keys") {
		d.TSIGKeys = append(d.TSIGKeys, c.resolve(n))
	}
}

// parseNotified normalises a target of NOTIFY: host:port, and behind a space the name of a TSIG key if there is one.
func parseNotified(s string) (string, error) {
	addr, key, signed := strings.Cut(s, " ")
	addr, err := parseTarget(addr)
	if err != nil || !signed {
		return addr, err
	}
	key, err = parseName(key)
	return addr + " " + key, err
}

// parseTransferClient normalises a network, or the name of a TSIG key.
func parseTransferClient(s string) (string, error) {
	p, err := parseNetwork(s)
	if err == nil {
		return p.Masked().String(), nil
	}
	if strings.ContainsAny(s, "/:") || strings.Trim(s, "0123456789.") == "" {
		return "", err
	}
	return parseName(s)
}

// zone reads the zone and the names that stand in it, and demands them where the face is on.
func (c *checker) zone(root, o object, d *DNS) {
	c.name(o, "zone", &d.Zone, `a DNS name such as "dl.example.org"`)
	c.names(o, d.Zone, &d.Names)
	if d.Zone == "" && o.has("zone") {
		d.Zone = "zone.invalid." // stands in for a faulty one, so that what depends on it is checked
	}
	for _, n := range o.items("nameservers") {
		name, err := parseName(n.text())
		if err != nil {
			c.failValue(n, `a DNS name such as "ns1.example.org"`, err)
		} else if strings.HasSuffix("."+name, "."+d.Zone) && o.text("zone_file") == "" {
			c.warn(n, WarnNameserverInZone, "%s is in the zone, where it has no address; want a zone_file that gives it one", name)
		}
		d.Nameservers = append(d.Nameservers, name)
	}
	if d.Zone != "" {
		d.Hostmaster = "hostmaster." + d.Zone
	}
	if n := o.get("hostmaster"); n != nil {
		mailbox, err := parseMailbox(n.text())
		if err != nil {
			c.failValue(n, `a mailbox such as "hostmaster.example.org"`, err)
		}
		d.Hostmaster = mailbox
	}
	if len(d.Listen) == 0 {
		return
	}
	where := o.node
	if where == nil {
		where = root.node
	} else if !where.isObject() {
		return // not an object, which has been said
	}
	if where.member("zone") == nil || o.node == nil {
		c.missing(where, `the key "zone" of "dns" is missing; want the pool's DNS name, such as "dl.example.org"`)
	}
	if o.node == nil || where.member("nameservers") == nil && o.text("zone_file") == "" {
		c.missing(where, `the key "nameservers" of "dns" is missing; want their DNS names, or a zone_file that has them`)
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

// name reads an absolute DNS name.
func (c *checker) name(o object, key string, to *string, want string) {
	if n := o.get(key); n != nil {
		name, err := parseName(n.text())
		if err != nil {
			c.failValue(n, want, err)
			return
		}
		*to = name
	}
}

// names reads the pool's names in a zone.
func (c *checker) names(o object, zone string, to *[]string) {
	if o.get("names") == nil {
		return
	}
	*to = nil
	seen := make(map[string]bool)
	for _, n := range o.items("names") {
		name, err := parsePoolName(n.text(), zone)
		if err == nil && seen[name] {
			err = errors.New("it is in the list already")
		}
		if err != nil {
			c.failValue(n, `"@", "*" or a name in the zone`, err)
			continue
		}
		seen[name] = true
		*to = append(*to, name)
	}
}

// http reads the section of that name.
func (c *checker) http(o object, h *HTTP) {
	o.listeners("listen", &h.Listen)
	if n := o.string("base_path", &h.BasePath); n != nil {
		path, err := parsePath(h.BasePath)
		if err == nil && strings.Contains(path, "%") {
			err = errors.New("no percent-encoding") // it would be unclear which form is compared
		}
		if err != nil {
			c.failValue(n, `a path such as "/tails/"`, err)
		}
		h.BasePath = "/"
		if path != "" {
			h.BasePath = "/" + strings.TrimRight(path, "/") + "/"
		}
	}
	o.networks("trusted_proxies", &h.TrustedProxies)
	o.duration("sticky", &h.Sticky, 0, day, 1)
	o.string("sticky_secret", &h.StickySecret)
	metalinks := true
	o.bool("metalinks", &metalinks)
	h.NoMetalinks = !metalinks
	if tls := o.object("tls"); o.get("tls") != nil {
		h.TLS = &TLS{}
		tls.path("cert", &h.TLS.Cert)
		tls.path("key", &h.TLS.Key)
	}
}

// parsePath checks a path of a URL and takes its slashes at the beginning away.
func parsePath(s string) (string, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || strings.Contains(s, " "):
		return "", errors.New("not a path")
	case strings.Contains(s, "://"):
		return "", errors.New("a path, not a URL")
	case strings.ContainsAny(s, "?#"):
		return "", errors.New("no query and no fragment")
	case strings.HasPrefix(s, "//"):
		return "", errors.New("one slash is enough")
	}
	return strings.TrimLeft(s, "/"), checkPath(u.Path)
}

// admin reads the section of that name.
func (c *checker) admin(o object, a *Admin) {
	o.path("token_file", &a.TokenFile)
	n := o.get("listen")
	if n == nil {
		return
	}
	if n.value == Off {
		a.Listen = ""
		return
	}
	if path, ok := strings.CutPrefix(n.text(), unixPrefix); ok {
		c.unixListener(n, path, a)
		return
	}
	address, err := parseListener(n.text())
	if err != nil {
		c.failValue(n, `an address such as "127.0.0.1:8053", "unix:/PATH", or "-" to turn it off`, err)
		return
	}
	host, _, _ := net.SplitHostPort(address)
	if !isLoopback(host) && o.text("token_file") == "" {
		c.fail(n, "want an address on loopback or a token_file, got %s (anyone could reload and read)", quote(address))
	}
	a.Listen = address
}

// Unix sockets, which only the administrator's listener may be.
const (
	unixPrefix  = "unix:"
	maxUnixPath = 100 // bytes; the kernel takes 107, and the listener adds a suffix while it opens the socket
)

func (c *checker) unixListener(n *node, path string, a *Admin) {
	switch {
	case !filepath.IsAbs(path), strings.ContainsFunc(path, unicode.IsControl):
		c.fail(n, "want an absolute path after %q, got %s", unixPrefix, quote(path))
	case len(path) > maxUnixPath:
		c.fail(n, "want a path of at most %d bytes for a Unix socket, got %d", maxUnixPath, len(path))
	default:
		a.Listen = unixPrefix + path
	}
}

// health reads the section of that name.
func (c *checker) health(o object, h *Health, zone string) {
	o.bool("enabled", &h.Enabled)
	o.duration("interval", &h.Interval, 50*time.Millisecond, day, 1)
	timeout := o.duration("timeout", &h.Timeout, time.Millisecond, 10*time.Minute, 1)
	o.int("rise", &h.Rise)
	o.int("fall", &h.Fall)
	o.duration("startup_timeout", &h.StartupTimeout, 0, time.Hour, 1)
	if n := o.string("path", &h.Path); n != nil {
		path, err := parsePath(h.Path)
		if err == nil && path == "" {
			err = errors.New("it names no file")
		}
		if err != nil {
			c.failValue(n, `a path below url_prefix, such as "project/trace"`, err)
		}
		h.Path = path
	}
	if n := o.string("reference_url", &h.ReferenceURL); n != nil && h.ReferenceURL != "" {
		h.ReferenceURL = c.url(n, h.ReferenceURL)
	}
	o.duration("max_lag", &h.MaxLag, time.Millisecond, year, 1)
	if n := o.get("max_age"); n != nil && !isZero(n.text()) {
		o.duration("max_age", &h.MaxAge, time.Millisecond, year, 1)
	}
	c.dnsURL(o, h, zone)
	o.float("panic_threshold", &h.PanicThreshold)
	o.bool("allow_private", &h.AllowPrivate)
	o.string("user_agent", &h.UserAgent)
	if h.Timeout > h.Interval {
		n := timeout
		if n == nil {
			n = o.get("interval")
		}
		if n != nil {
			c.warn(n, WarnTimeout, "the timeout of %s is longer than the interval of %s, so that a slow mirror is checked less often",
				short(h.Timeout), short(h.Interval))
		}
	}
}

func isZero(s string) bool {
	d, err := time.ParseDuration(s)
	return err == nil && d == 0
}

// dnsURL reads the URL that is fetched at each address, and puts the zone into it. Without a zone the
// default has no meaning, and there is no role dns to be checked.
func (c *checker) dnsURL(o object, h *Health, zone string) {
	n := o.string("dns_url", &h.DNSURL)
	if n == nil {
		if zone == "" {
			h.DNSURL = ""
			return
		}
		n = &node{}
	} else if zone == "" && strings.Contains(h.DNSURL, "{zone}") {
		c.fail(n, "want dns.zone to be given for {zone}, got %s", quote(hideUser(h.DNSURL)))
		return
	}
	h.DNSURL = c.url(n, strings.ReplaceAll(h.DNSURL, "{zone}", strings.TrimSuffix(zone, ".")))
}

// url normalises a URL of the web, or files a fault of n.
func (c *checker) url(n *node, s string) string {
	u, err := parseURL(s, webPorts)
	if err == nil && strings.Contains(s, "#") {
		err = errors.New("no fragment")
	}
	if err != nil {
		c.failValue(n, "an http or https URL", err)
		return ""
	}
	return u.String()
}

// publish reads one target of dynamic updates.
func (c *checker) publish(o object, dns DNS) Publish {
	p := Publish{Zone: dns.Zone, Names: []string{"@"}, TTL: dns.TTL, MaxAnswers: dns.MaxAnswers, Reconcile: "enforce"}
	if n := o.string("server", &p.Server); n != nil {
		server, err := parseTarget(p.Server)
		if err != nil {
			c.failValue(n, `a server such as "192.0.2.53:53"`, err)
		}
		p.Server = server
	}
	c.name(o, "zone", &p.Zone, `a DNS name such as "dl.example.org"`)
	if p.Zone == "" && !o.has("zone") {
		c.missing(o.node, `the key "zone" is missing; want a DNS name, since there is no dns.zone either`)
	}
	c.names(o, p.Zone, &p.Names)
	o.duration("ttl", &p.TTL, time.Second, day, time.Second)
	o.int("max_answers", &p.MaxAnswers)
	o.path("tsig", &p.TSIG)
	o.sources("source", &p.Source)
	o.string("reconcile", &p.Reconcile)
	return p
}

// distinctListeners files a fault of an address that is given twice, by the file or by default. Port 0
// is another port each time.
func (c *checker) distinctListeners(root object, s *Server) {
	seen := make(map[string]*node)
	list := root.object("dns").items("listen")
	list = append(list, root.object("http").items("listen")...)
	if n := root.object("admin").get("listen"); n != nil {
		list = append(list, n)
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
