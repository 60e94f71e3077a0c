package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"time"
	"unicode"
)

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
	o.path("well_known", &h.WellKnown)
	o.bool("public_stats", &h.PublicStats)
	metalinks := true
	o.bool("metalinks", &metalinks)
	h.NoMetalinks = !metalinks
	if tls := o.object("tls"); o.get("tls") != nil {
		c.tls(tls, h)
	}
}

// tls reads the section of that name.
func (c *checker) tls(o object, h *HTTP) {
	h.TLS = &TLS{}
	for _, key := range []string{"cert", "key"} {
		if o.node.isObject() && !o.has(key) && (!o.has("acme") || o.has("cert") || o.has("key")) {
			c.missing(o.node, fmt.Sprintf("the key %q is missing; want the path of a PEM file", key))
		}
	}
	o.path("cert", &h.TLS.Cert)
	o.path("key", &h.TLS.Key)
	o.listeners("listen", &h.TLS.Listen)
	o.bool("only", &h.TLS.Only)
	o.duration("hsts", &h.TLS.HSTS, 0, 10*year, time.Second)
	if n := o.get("only"); h.TLS.Only && len(h.TLS.Listen) == 0 {
		c.fail(n, "want http.tls.listen with it: otherwise there is no http that could lead to https")
	}
	if n := o.get("acme"); n != nil {
		h.ACME = c.acme(o.object("acme"))
		if len(h.TLS.Listen) == 0 {
			c.fail(n, "want http.tls.listen with it: until there is a certificate, clients are served by http alone")
		}
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
	if !IsLoopback(host) && o.text("token_file") == "" {
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
