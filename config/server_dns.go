package config

import (
	"errors"
	"strings"
	"time"
)

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
		client, err := parseTransferClient(n.text())
		if err != nil {
			c.failValue(n, `a network such as "192.0.2.0/24", or the name of a TSIG key`, err)
		}
		d.AllowTransfer = append(d.AllowTransfer, client)
	}
	for _, n := range o.items("caa") {
		caa, err := parseCAA(n.text())
		if err != nil {
			c.failValue(n, `a CAA value such as '0 issue "letsencrypt.org; validationmethods=dns-01"'`, err)
		}
		d.CAA = append(d.CAA, caa)
	}
	for _, n := range o.items("tsig_keys") {
		d.TSIGKeys = append(d.TSIGKeys, c.resolve(n))
	}
	if o.has("dnssec") {
		d.DNSSEC = c.dnssec(root, o.object("dnssec"))
		c.boundSigned(o, d)
	}
}

// dnssec reads how the zone is signed.
func (c *checker) dnssec(root, o object) *DNSSEC {
	s := &DNSSEC{Algorithm: "ECDSAP256SHA256", Validity: 7 * day}
	o.string("algorithm", &s.Algorithm)
	o.duration("validity", &s.Validity, 2*day, 30*day, time.Hour)
	for _, n := range o.items("other_keys") {
		s.OtherKeys = append(s.OtherKeys, c.resolve(n))
	}
	o.bool("withdraw", &s.Withdraw)
	o.string("leader", &s.Leader)
	if n := o.get("resolver"); n != nil && n.text() != "" {
		resolver, err := parseTarget(n.text())
		if err != nil {
			c.failValue(n, `a resolver such as "192.0.2.53:53"`, err)
		}
		s.Resolver = resolver
	}
	n := o.get("keys")
	if n == nil {
		return s
	}
	if s.Auto = n.value == "auto"; s.Auto && root.text("state_dir") == "" {
		c.fail(n, `want a state_dir, in which the keys of "auto" are kept`)
	}
	if n.kind == arrayValue {
		for _, n := range o.items("keys") {
			s.Keys = append(s.Keys, c.resolve(n))
		}
	}
	return s
}

// boundSigned refuses more names than can be signed ahead, with all answers at each.
func (c *checker) boundSigned(o object, d *DNS) {
	if n := o.get("names"); n != nil && len(d.Names) > maxSignedNames {
		c.fail(n, "want at most %d names with dns.dnssec, got %d: all answers are signed ahead at each", maxSignedNames, len(d.Names))
	}
}

// maxSignedNames bounds the names of a pool that is signed.
const maxSignedNames = 8

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
