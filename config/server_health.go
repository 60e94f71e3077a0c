package config

import (
	"errors"
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
