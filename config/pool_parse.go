package config

import (
	"errors"
	"fmt"
	"net/url"
	"runtime"
	"slices"
	"strings"
)

// MaxMirrors is the largest number of mirrors in a pool. MaxFileSize leaves 400 bytes for each.
const MaxMirrors = 20_000

// ParsePool checks data, the text of a mirrors.json; file is its name in errors.
//
// The key "version" may be missing, with a warning; if given it is 1. Whole numbers may be written as 1.0 or 1e0, as
// JSON Schema has it. Unknown keys are warnings, so that a list made for a newer program still loads. An optional key
// of null or "" is as if it were missing. A wrong type or value refuses the whole file. Then the pool is nil, and the
// error joins one [*Error] per fault ([Errors] takes it apart). Warnings come in both cases. A pool without an enabled
// mirror is a warning here: the caller knows whether there was a better one before.
func ParsePool(file string, data []byte) (*Pool, []*Error, error) {
	return ParsePoolIn(file, data, DNS{})
}

// ParsePoolIn is ParsePool for a pool that is served as dns has it: the names of its mirrors must not
// collide with what else the zone holds. See [Pool.Collisions].
func ParsePoolIn(file string, data []byte, dns DNS) (*Pool, []*Error, error) {
	d, faults := readDocument(file, data)
	if d.root == nil {
		return nil, nil, join(d.errorsOf(faults))
	}
	c := &checker{document: d, rules: poolRules(), faults: faults, bad: make(map[*node]bool)}
	var pool *Pool
	if list := d.root.member("mirrors"); list != nil && len(list.order) > MaxMirrors {
		// Not worth the schema's time: it would look at each of them before it complains.
		c.fail(list, "want at most %d mirrors, got %d", MaxMirrors, len(list.order))
	} else {
		c.dropAbsent(d.root, c.rules.text, true)
		c.unknownKeys(d.root, c.rules.text)
		if c.checkMirrors() {
			pool = c.pool(object{c, d.root}, dns)
		}
	}
	warnings := d.errorsOf(c.warnings)
	if len(c.faults) > 0 {
		return nil, warnings, join(d.errorsOf(c.faults))
	}
	return pool, warnings, nil
}

// checkMirrors files what the schema says against the document, and reports whether it saw all of it.
//
// The validator sees a long list in batches, some at a time, and no further than there are faults to report: it takes
// close to a kilobyte for each fault, and a hostile list can have 500,000.
func (c *checker) checkMirrors() (all bool) {
	const batch = 250
	list := c.root.member("mirrors")
	if list == nil || list.kind != arrayValue || len(list.order) <= batch {
		c.checkSchema(c.root)
		return true
	}
	some := func(items []*node) *node {
		return &node{name: list.name, off: list.off, kind: arrayValue, order: items}
	}
	parts := make([]*node, 0, 1+len(list.order)/batch)
	rest := slices.DeleteFunc(slices.Clone(c.root.order), func(m *node) bool { return m == list })
	for items := range slices.Chunk(list.order, batch) {
		parts = append(parts, &node{kind: objectValue, order: append(rest, some(items))})
		rest = nil // once is enough
	}
	for parts := range slices.Chunk(parts, min(runtime.NumCPU(), runtime.GOMAXPROCS(0), maxValidators)) {
		if len(c.faults) > maxReported {
			return false
		}
		c.checkSchema(parts...)
	}
	return true
}

// maxValidators is how many batches of mirrors are validated side by side, at most, and no more than there are CPUs:
// answers wait for what runs beside.
const maxValidators = 4

// pool applies the rules of the whole list.
func (c *checker) pool(root object, dns DNS) *Pool {
	if root.node.isObject() && root.node.member("version") == nil {
		c.warn(root.node, WarnNoVersion, `the key "version" is missing; taken as 1`)
	}
	items := root.items("mirrors")
	pool := &Pool{Mirrors: make([]Mirror, 0, len(items))}
	prefixes := make(map[string]*node)
	names := make(map[string]*node)
	for _, n := range items {
		o := object{c, n}
		m := c.mirror(o)
		pool.Mirrors = append(pool.Mirrors, m)
		if m.URL != nil {
			c.unique(prefixes, m.URLPrefix, o.get("url_prefix"))
		}
		if m.Name != "" {
			c.unique(names, m.Name, o.get("name"))
		}
	}
	for _, collision := range pool.Collisions(dns) {
		c.fail(items[collision.Mirror].member("name"), "%v", collision)
	}
	if len(c.faults) == 0 {
		c.warnPool(root, pool)
	}
	return pool
}

// unique files a fault if key was seen before.
func (c *checker) unique(seen map[string]*node, key string, n *node) {
	if first := seen[key]; first != nil {
		line, _ := c.position(first.off)
		c.fail(n, "%s is given already at %s (line %d)", quote(key), first.pointer(), line)
		return
	}
	seen[key] = n
}

// mirror reads one entry of the list.
func (c *checker) mirror(o object) Mirror {
	var m Mirror
	o.string("email", &m.Email)
	o.string("notes", &m.Notes)
	o.string("name", &m.Name)
	m.Name = strings.ToLower(m.Name)
	if n := o.get("url_prefix"); n != nil {
		u, err := parsePrefix(n.text(), webPorts)
		if err != nil {
			c.failValue(n, "an http or https URL of a folder", err)
		} else {
			m.URL, m.URLPrefix = u, u.String()
		}
	}
	if n := o.get("rsync_url"); n != nil {
		u, err := parseRsyncURL(n.text())
		if err != nil {
			c.failValue(n, "a URL like rsync://host/module/", err)
		} else {
			m.RsyncURL = u.String()
		}
	}
	if n := o.get("weight"); n != nil {
		m.Weight = uint32(n.float())
	}
	m.DNS = c.mirrorDNS(o, m.Weight)
	m.Location = c.location(o.object("location"))
	m.ServeOnly = c.places(o.object("serve_only"))
	m.Exclude = c.places(o.object("exclude"))
	if n := o.get("serve_only"); n != nil && !slices.ContainsFunc(n.order, (*node).filled) {
		c.warn(n, WarnEmptyServeOnly, "names no place, so that it restricts nothing")
	}
	return m
}

// parseRsyncURL normalises the URL of a module of an rsync daemon, or of a folder in one. The error for rsync's own
// notation without a URL, "host::module", says what to write.
func parseRsyncURL(s string) (*url.URL, error) {
	u, err := parsePrefix(s, rsyncPorts)
	if err == nil && strings.HasPrefix(u.EscapedPath()+"/", "//") {
		err = errors.New("no module")
	}
	if err == nil {
		return u, nil
	}
	if host, module, ok := strings.Cut(strings.TrimPrefix(s, "rsync://"), "::"); ok {
		if u, err := parsePrefix("rsync://"+host+"/"+strings.TrimPrefix(module, "/"), rsyncPorts); err == nil && u.Path != "/" {
			return nil, fmt.Errorf("in a URL, a slash stands before the module: %s", u)
		}
	}
	return nil, err
}

// filled reports whether n is anything but an empty list.
func (n *node) filled() bool {
	return n.kind != arrayValue || len(n.order) > 0
}

// failValue files a fault of a value, with err as the hint.
func (c *checker) failValue(n *node, want string, err error) {
	c.fail(n, "%s", wrong(want, c.got(n, nil), err.Error()))
}

// mirrorDNS reads the key dns of a mirror of the given weight.
func (c *checker) mirrorDNS(o object, weight uint32) MirrorDNS {
	d := MirrorDNS{Weight: weight}
	n := o.get("dns")
	if n == nil {
		return d
	}
	if n.value == false {
		return MirrorDNS{Off: true}
	}
	dns := object{c, n}
	if n := dns.get("weight"); n != nil && weight > 0 {
		d.Weight = uint32(n.float())
	}
	for _, n := range dns.items("addresses") {
		addr, err := parseAddress(n.text())
		if err == nil && slices.Contains(d.Addresses, addr) {
			err = errors.New("it is in the list already")
		}
		if err != nil {
			c.failValue(n, "an IP address", err)
			continue
		}
		d.Addresses = append(d.Addresses, addr)
	}
	return d
}

// location reads the key location of a mirror.
func (c *checker) location(o object) Location {
	var l Location
	o.string("country", &l.Country)
	l.Country = strings.ToUpper(l.Country)
	o.string("continent", &l.Continent)
	o.float("latitude", &l.Latitude)
	o.float("longitude", &l.Longitude)
	if n := o.get("asn"); n != nil {
		l.ASN = uint32(n.float())
	}
	if o.node == nil || !o.node.isObject() {
		return l
	}
	latitude, longitude := o.node.member("latitude"), o.node.member("longitude")
	l.HasPosition = latitude != nil && longitude != nil
	switch {
	case latitude == nil && longitude != nil:
		c.fail(o.node, `the key "latitude" is missing; want both it and "longitude", or neither`)
	case latitude != nil && longitude == nil:
		c.fail(o.node, `the key "longitude" is missing; want both it and "latitude", or neither`)
	}
	return l
}

// places reads serve_only or exclude.
func (c *checker) places(o object) Places {
	var p Places
	for _, n := range o.items("countries") {
		p.Countries = append(p.Countries, strings.ToUpper(n.text()))
	}
	for _, n := range o.items("continents") {
		p.Continents = append(p.Continents, n.text())
	}
	for _, n := range o.items("asns") {
		p.ASNs = append(p.ASNs, uint32(n.float()))
	}
	return p
}
