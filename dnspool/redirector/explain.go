package redirector

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"mirrorpool/dnspool"
)

var (
	errNoSnapshot = errors.New("starting: no pool is loaded yet")
	errNoMirror   = errors.New("no mirror serves this client")
)

// An Answer is the response to a client.
type Answer struct {
	Status   int
	Location string // where a redirect leads, or ""
	What     string // the content, with status 200
}

// Explain returns the response that a client would get for a path now; err says why it is neither a redirect nor a
// page. The path begins with the base path, and may end with a query.
func (h *Handler) Explain(addr netip.Addr, secure bool, path string) (a Answer, e dnspool.Explanation, err error) {
	snapshot := h.Current.Load()
	if snapshot == nil {
		return Answer{Status: http.StatusServiceUnavailable}, e, errNoSnapshot
	}
	var r dnspool.Request
	h.ask(&r, client{addr: addr, secure: secure})
	e = snapshot.Explain(&r)
	target, err := url.ParseRequestURI(path)
	if err != nil {
		return Answer{Status: http.StatusBadRequest}, e, errMalformed
	}
	to := h.route(target, len(path))
	switch {
	case to.builtin != nil:
		return Answer{Status: http.StatusOK, What: builtinNames[unescape(requestPath(target))]}, e, nil
	case to.problem != nil:
		return Answer{Status: to.status}, e, to.problem
	case len(e.Mirrors) == 0 || e.Mirrors[0].Order == 0:
		return Answer{Status: http.StatusServiceUnavailable}, e, errNoMirror
	case to.list:
		return Answer{Status: http.StatusOK, What: "a page with all mirrors"}, e, nil
	case to.metalinkOf != "":
		picked := e.Mirrors[0].Mirror
		ctx, cancel := context.WithTimeout(context.Background(), sizeTime)
		defer cancel()
		if _, ok := fileName(to.metalinkOf); !ok {
			return Answer{Status: http.StatusNotFound}, e, errForbidden
		}
		if !h.fileSizeOf(ctx, netip.Prefix{}, picked, to.path).found {
			return Answer{Status: http.StatusOK, What: "a Metalink"}, e, nil
		}
	}
	return Answer{Status: http.StatusFound, Location: e.Mirrors[0].URLPrefix + to.path + to.query}, e, nil
}

// Window returns the time in which a client's network is sent to the same mirror. ok is false if each request may get
// another.
func (h *Handler) Window(addr netip.Addr) (begin, end time.Time, ok bool) {
	sticky := h.inForce.Load().sticky
	if sticky == nil || !addr.IsValid() {
		return time.Time{}, time.Time{}, false
	}
	begin, end = sticky.Window(addr, h.Now())
	return begin, end, true
}
