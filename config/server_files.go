package config

import (
	"errors"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Files configures what is known of single files.
type Files struct {
	Origin      string        // a folder, an rsync URL, or the https URL of a list (http on loopback only); empty: none
	Fallback    string        // normalised as a mirror's URLPrefix is; empty: none
	Interval    time.Duration // between listings of a mirror's whole tree
	Rewritten   []string      // patterns of files that are rewritten in place
	Unpublished string        // "404" or "redirect"
	OnDemand    bool          // ask mirrors for a file before a redirect, where nothing else tells
	Hashes      []string      // patterns of files whose checksums are wanted; empty: those of a MiB or more
	HashRate    int64         // bytes per second of files without a published checksum, to hash them; 0: none
	VerifyRate  int64         // bytes per second that are read of each mirror to verify its files; 0: none
	VerifyAgent string        // User-Agent of these reads
	MinRate     int64         // bytes per second that a mirror has to send; 0: any
	FromOrigin  []string      // patterns of files that clients get from Fallback alone
}

// files reads the section of that name.
func (c *checker) files(o object, f *Files) {
	c.filesOrigin(o, f)
	if n := o.string("fallback", &f.Fallback); n != nil && f.Fallback != "" {
		u, err := parsePrefix(f.Fallback, webPorts)
		if err != nil {
			c.failValue(n, "an http or https URL of a folder", err)
			return
		}
		f.Fallback = u.String()
	}
	o.duration("interval", &f.Interval, time.Second, 7*day, 1)
	c.patterns(o, "rewritten", &f.Rewritten)
	o.string("unpublished", &f.Unpublished)
	o.bool("on_demand", &f.OnDemand)
	c.patterns(o, "hashes", &f.Hashes)
	o.rate("hash_rate", &f.HashRate)
	o.rate("verify_rate", &f.VerifyRate)
	o.string("verify_agent", &f.VerifyAgent)
	o.rate("min_rate", &f.MinRate)
	c.patterns(o, "from_origin", &f.FromOrigin)
}

// warnUnverified warns of keys that promise clients and mirrors more than comes of them.
func (c *checker) warnUnverified(o object, s *Server) {
	f := &s.Files
	if len(c.faults) > 0 {
		return
	}
	for _, rule := range [...]struct {
		key   string
		isSet bool
	}{
		{"hashes", len(f.Hashes) > 0}, {"hash_rate", f.HashRate > 0}, {"verify_rate", f.VerifyRate > 0}, {"min_rate", f.MinRate > 0},
	} {
		if n := o.get(rule.key); n != nil && rule.isSet && f.Origin == "" {
			c.warn(n, WarnUnverified, "it has no effect without files.origin: no checksum is known")
		}
	}
	if n := o.get("min_rate"); n != nil && f.Origin != "" && f.MinRate > 0 && f.VerifyRate == 0 {
		c.warn(n, WarnUnverified, `it has no effect with "verify_rate": "0": no throughput is measured`)
	}
	if n := o.get("fallback"); n != nil && s.HTTP.TLS != nil && strings.HasPrefix(f.Fallback, "http://") {
		c.warn(n, WarnHTTPOnly, "http only; want an https URL, or clients that ask over https get 503 for what only the fallback serves")
	}
}

// patterns reads a list of patterns of files.
func (c *checker) patterns(o object, key string, to *[]string) {
	if o.get(key) == nil {
		return
	}
	var list []string
	for _, n := range o.items(key) {
		pattern := n.text()
		_, err := path.Match(pattern, "")
		switch elements := strings.Split(pattern, "/"); {
		case err == nil && slices.Contains(elements, "**"):
			err = errors.New(`** is no more than *: "*.iso" is for all folders, and "project/" for all in that one`)
		case err == nil && (slices.Contains(elements, "..") || slices.Contains(elements, ".")):
			err = errors.New("no path has such an element")
		}
		if err != nil {
			c.failValue(n, `a pattern such as "*.json" or "project/"`, err)
		}
		list = append(list, strings.TrimPrefix(pattern, "/"))
	}
	*to = list
}

// rateUnits are the units of bytes that rates are given in, longest first.
var rateUnits = []struct {
	name  string
	bytes int64
}{{"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}}

// rate reads bytes per second. The schema has checked its form.
func (o object) rate(key string, to *int64) {
	n := o.get(key)
	if n == nil {
		return
	}
	for _, unit := range rateUnits {
		if digits, ok := strings.CutSuffix(n.text(), unit.name); ok {
			number, err := strconv.ParseInt(digits, 10, 64)
			if err != nil {
				o.c.failValue(n, `bytes in a second such as "1MB"`, err)
			}
			*to = number * unit.bytes
			return
		}
	}
	*to = 0
}

// filesOrigin reads where the project publishes from.
func (c *checker) filesOrigin(o object, f *Files) {
	n := o.get("origin")
	if n == nil || n.text() == "" {
		return
	}
	origin := n.text()
	var u *url.URL
	var err error
	switch {
	case !strings.Contains(origin, "://"):
		o.path("origin", &f.Origin)
		return
	case strings.HasPrefix(strings.ToLower(origin), "rsync:"):
		u, err = parseRsyncURL(origin)
	default:
		u, err = parseListURL(origin)
	}
	if err != nil {
		c.failValue(n, "a folder, a URL like rsync://host/module/, or the https URL of a list of sha256sum", err)
		return
	}
	f.Origin = u.String()
}

// parseListURL normalises the URL of a list.
func parseListURL(s string) (*url.URL, error) {
	u, err := parseURL(s, webPorts)
	switch {
	case err != nil:
		return nil, err
	case u.Scheme == "http" && !IsLoopback(u.Hostname()):
		return nil, errors.New("http only on this machine: an attacker on the network path could replace the list")
	case strings.Contains(s, "#"):
		return nil, errors.New("no fragment")
	}
	return u, nil
}
