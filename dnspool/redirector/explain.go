package redirector

import (
	"errors"
	"net/netip"
	"net/url"
	"time"

	"mirrorpool/dnspool"
)

var (
	errNoSnapshot = errors.New("starting: there is no pool yet")
	errNobody     = errors.New("no mirror serves this client")
)

// Explain says what a client that asks for a path would get now: the location, or an error that says why there is
// none. The path begins with the base path, and may end with a query.
func (h *Handler) Explain(addr netip.Addr, secure bool, path string) (location string, e dnspool.Explanation, err error) {
	snapshot := h.Current.Load()
	if snapshot == nil {
		return "", e, errNoSnapshot
	}
	var r dnspool.Request
	h.ask(&r, client{addr: addr, secure: secure})
	e = snapshot.Explain(&r)
	target, err := url.ParseRequestURI(path)
	if err != nil {
		return "", e, errMalformed
	}
	rest, err := cleanPath(requestPath(target), h.Config.BasePath)
	switch {
	case err != nil:
		return "", e, err
	case len(e.Mirrors) == 0 || e.Mirrors[0].Order == 0:
		return "", e, errNobody
	}
	query, _ := splitQuery(target.RawQuery)
	return e.Mirrors[0].URLPrefix + rest + query, e, nil
}

// Window returns for how long a client's network meets the same mirror. ok is false if it meets any.
func (h *Handler) Window(addr netip.Addr) (begin, end time.Time, ok bool) {
	if h.sticky == nil || !addr.IsValid() {
		return time.Time{}, time.Time{}, false
	}
	begin, end = h.sticky.Window(addr, h.Now())
	return begin, end, true
}
