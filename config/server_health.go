package config

import (
	"cmp"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"time"
)

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
	o.duration("address_grace", &h.AddressGrace, 0, year, 1)
	o.duration("max_unresolved", &h.MaxUnresolved, 0, year, 1)
	o.string("user_agent", &h.UserAgent)
	if n := o.get("proxy"); n != nil && n.text() != "" {
		var err error
		if h.Proxy, err = parseProxy(n.text()); err != nil {
			c.failValue(n, `a URL such as "socks5://127.0.0.1:9050"`, err)
		}
	}
	c.healthSource(o, h)
	o.string("family", &h.Family)
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

// parseProxy reads the URL of a SOCKS5 proxy.
func parseProxy(text string) (server string, err error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return "", errors.New("not a URL")
	case u.Scheme != "socks5":
		return "", errors.New("not socks5://")
	case u.User != nil:
		return "", errors.New("no user: each mirror gets one of its own")
	case u.Hostname() == "":
		return "", errors.New("no host")
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return "", errors.New("nothing after the host")
	}
	return net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "1080")), nil
}

// healthSource reads where checks come from: addresses, or the name of an interface.
func (c *checker) healthSource(o object, h *Health) {
	items := o.items("source")
	if len(items) == 1 {
		if _, err := netip.ParseAddr(items[0].text()); err != nil && interfaceName.MatchString(items[0].text()) {
			h.Source = []string{items[0].text()}
			return
		}
	}
	var addresses []netip.Addr
	o.sources("source", &addresses)
	for _, addr := range addresses {
		h.Source = append(h.Source, addr.String())
	}
}

// interfaceName is what Linux calls its network interfaces.
var interfaceName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._-]{0,14}$`)

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
