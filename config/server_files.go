package config

import (
	"errors"
	"net/url"
	"path"
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
	for _, n := range o.items("rewritten") {
		pattern := n.text()
		if _, err := path.Match(pattern, ""); err != nil {
			c.failValue(n, `a pattern such as "*.json" or "project/"`, err)
		}
		f.Rewritten = append(f.Rewritten, strings.TrimPrefix(pattern, "/"))
	}
	o.string("unpublished", &f.Unpublished)
	o.bool("on_demand", &f.OnDemand)
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
