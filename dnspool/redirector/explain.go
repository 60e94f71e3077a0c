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

	errUnpublished = errors.New("the origin does not have this file")
	errNotYet      = errors.New("the origin has this file, and no mirror that serves this client has it yet")
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
	var s scratch
	h.ask(&s.request, client{addr: addr, secure: secure})
	target, err := url.ParseRequestURI(path)
	if err != nil {
		return Answer{Status: http.StatusBadRequest}, snapshot.Explain(&s.request), errMalformed
	}
	to := h.route(target, len(path))
	file := to.path
	switch {
	case to.builtin != nil:
		return Answer{Status: http.StatusOK, What: builtinName(target)}, snapshot.Explain(&s.request), nil
	case to.problem != nil:
		return Answer{Status: to.status}, snapshot.Explain(&s.request), to.problem
	case to.list:
		a, err = h.explainPage(snapshot, &s, &to, file)
	case to.metalinkOf != "" && !h.isPublished(to.path):
		file = to.metalinkOf
		a, err = h.explainPage(snapshot, &s, &to, file)
	default:
		a, err = h.explainFile(snapshot, &s, &to)
	}
	return a, h.explain(snapshot, &s, file), err
}

// explain is why mirrors are picked for a request for a file, or not. Of those that are not picked, it tells the ones
// that lack the file from the ones that have not been asked for it, and those whose copy is corrupt.
func (h *Handler) explain(snapshot *dnspool.Snapshot, s *scratch, file string) dnspool.Explanation {
	if s.request.Carriers != nil {
		plain := unescape(file)
		s.request.Unknown, s.request.Corrupt = h.Catalog.Find(plain, h.Now()).Unknown, h.Catalog.Corrupt(plain)
	}
	return snapshot.Explain(&s.request)
}

// explainPage returns the response to a request for a list of mirrors, or for the Metalink of a file.
func (h *Handler) explainPage(snapshot *dnspool.Snapshot, s *scratch, to *route, file string) (Answer, error) {
	if !to.list && h.isOfNothing(context.Background(), to) {
		return Answer{Status: http.StatusNotFound}, errUnpublished
	}
	h.carry(s, file)
	if to.list {
		snapshot.Choose(&s.choice, &s.request)
	} else {
		h.pick(snapshot, s, false)
	}
	switch {
	case s.choice.Picked == nil && !to.list && h.metalinkOrigin(s, file) != "":
		return Answer{Status: http.StatusOK, What: "a Metalink"}, nil
	case s.choice.Picked == nil:
		return Answer{Status: http.StatusServiceUnavailable}, errNoMirror
	case to.list:
		return Answer{Status: http.StatusOK, What: "a page with all mirrors"}, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), sizeTime)
	defer cancel()
	if _, ok := fileName(to.metalinkOf); !ok {
		return Answer{Status: http.StatusNotFound}, errForbidden
	}
	if !h.fileSizeOf(ctx, netip.Prefix{}, s.choice.Picked, to.path).found {
		return Answer{Status: http.StatusOK, What: "a Metalink"}, nil
	}
	return h.explainFile(snapshot, s, to)
}

// explainFile returns the response to a request for a file.
func (h *Handler) explainFile(snapshot *dnspool.Snapshot, s *scratch, to *route) (Answer, error) {
	if sum, name := h.sumOf(to.path); sum != nil {
		return Answer{Status: http.StatusOK, What: "the checksum of " + name}, nil
	}
	leads, ok := h.known(snapshot, s, to.path, false)
	if !ok {
		leads = h.find(context.Background(), snapshot, s, to.path, false)
	}
	switch {
	case leads.basis == unpublished:
		return Answer{Status: leads.status}, errUnpublished
	case leads.basis == notYet:
		return Answer{Status: leads.status}, errNotYet
	case leads.status != 0:
		return Answer{Status: leads.status}, errNoMirror
	}
	return Answer{Status: http.StatusFound, Location: leads.prefix + to.path + to.query}, nil
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
