package redirector

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/dnspool/certificates"
	"mirrorpool/dnspool/stats"
	"mirrorpool/health/files"
)

const (
	maxTarget  = 8 << 10 // bytes of a request's path and query
	retryAfter = "60"    // seconds, where no mirror can serve the client
)

// Options are what a Handler works with.
type Options struct {
	Config  config.HTTP      // to begin with: see [Handler.SetConfig]
	Current *dnspool.Current // the snapshot in force
	// Place looks up where an address is. It is nil without a geographical database.
	Place func(netip.Addr) dnspool.Place
	// FileSize asks a mirror at an address for the size of a file. The error is fs.ErrNotExist if the mirror lacks it.
	// Nil: mirrors are not asked.
	FileSize func(ctx context.Context, u *url.URL, addr netip.Addr) (int64, error)
	// Catalog knows which mirrors carry which files. Nil: all mirrors are taken to carry all files.
	Catalog *files.Catalog
	// Stats counts downloads. Nil: nothing is counted but for the metrics.
	Stats *stats.Counter
	// Public returns what ?mirrorstats shows. Nil: there is no such page.
	Public func() []PublicMirror
	// Certificate is that of https. Nil: it comes by ACME, or from files.
	Certificate *tls.Certificate
	// ACME gets certificates. Nil: https has the certificate in files alone.
	ACME *certificates.ACME
	// TicketFile is where the keys of TLS session tickets are shared with other copies of the program, or "".
	TicketFile string
	// Source is randomness that is safe for concurrent use.
	Source rand.Source
	Now    func() time.Time
}

// A Handler answers requests with a redirect to a mirror.
type Handler struct {
	Options
	inForce atomic.Pointer[settings]
	files   atomic.Pointer[fileConfig]
	legacy  legacyCache
	pages   pageLimiter
	sizes   fileSizes
	scratch sync.Pool // of *scratch
	counts  redirectCounts
}

// settings are the part of the configuration that requests are answered by. They are not changed once in force.
type settings struct {
	config.HTTP
	sticky  *dnspool.Sticky // nil if off
	oddPort bool            // no listener has a port that clients leave out of the Host header
}

// scratch is memory that requests reuse.
type scratch struct {
	request  dnspool.Request
	choice   dnspool.Choice
	known    *files.Carriers // of the file; nil if nothing is known of it
	carriers files.Carriers  // memory for known
	digest   digest          // of the file
	text     []byte
}

// NewHandler returns a handler.
func NewHandler(o Options) *Handler {
	h := &Handler{Options: o}
	h.scratch.New = func() any { return new(scratch) }
	h.SetConfig(o.Config)
	h.SetFiles(config.Files{})
	return h
}

// SetConfig puts another configuration in force for the requests to come. Which addresses are listened at, and with
// which certificate, is not for the handler. One goroutine at a time may call it.
func (h *Handler) SetConfig(c config.HTTP) {
	next, before := &settings{HTTP: c, oddPort: hasOddPorts(&c)}, h.inForce.Load()
	switch {
	case c.Sticky == 0:
	case before != nil && before.Sticky == c.Sticky && before.StickySecret == c.StickySecret:
		next.sticky = before.sticky // clients go on with the mirrors that they have
	default:
		next.sticky = dnspool.NewSticky(cmp.Or(c.StickySecret, randomSecret(h.Source)), c.Sticky)
	}
	h.inForce.Store(next)
}

// trustedProxies returns the networks of the proxies that are in force.
func (h *Handler) trustedProxies() []netip.Prefix { return h.inForce.Load().TrustedProxies }

// randomSecret returns 256 bits in hexadecimal digits.
func randomSecret(source rand.Source) string {
	return fmt.Sprintf("%016x%016x%016x%016x", source.Uint64(), source.Uint64(), source.Uint64(), source.Uint64())
}

// ServeHTTP answers
//
//   - 302 with a mirror's url_prefix and the path;
//   - 200 to PATH?mirrorstats with numbers of all mirrors, if http.public_stats is on;
//   - 200 to PATH.sha256 and PATH.sha512 with the checksum of a file, if it is known and the origin has no such
//     file;
//   - 200 to PATH?mirrorlist with all mirrors of the path, and to PATH.meta4 and PATH.metalink with a Metalink,
//     unless a mirror has a file of that name;
//   - 400 to malformed paths, and 404 to forbidden ones: see cleanPath;
//   - 405 to other methods than GET and HEAD;
//   - 414 if path and query are too long;
//   - 503 if no mirror can serve the client, or too many ask for pages.
//
// The redirector answers /mirrors.json (see legacyList), /robots.txt and /favicon.ico itself, and serves the files in
// http.well_known.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		fail(w, http.StatusMethodNotAllowed)
		return
	}
	to := h.route(r.URL, len(r.RequestURI))
	switch {
	case to.builtin != nil:
		to.builtin(w, r)
		return
	case to.status != 0:
		fail(w, to.status)
		return
	}
	snapshot := h.Current.Load()
	if snapshot == nil {
		unavailable(w)
		return
	}
	s := h.scratch.Get().(*scratch)
	defer h.scratch.Put(s)
	c := clientOf(r, h.trustedProxies())
	h.ask(&s.request, c)
	switch {
	case to.stats:
		h.servePage(w, c.addr, func() (int, []byte) { return publicStatsPage(w.Header(), r.Header, h.Public()) })
	case to.list:
		h.carry(s, to.path)
		h.servePage(w, c.addr, func() (int, []byte) {
			return mirrorListPage(w.Header(), r.Header, h.explain(snapshot, s, to.path), h.copies(to.path), to.path, to.query, !h.inForce.Load().NoMetalinks)
		})
	case to.metalinkOf != "":
		h.serveMetalink(w, r, snapshot, s, c, &to)
	default:
		if sum, name := h.sumOf(to.path); sum != nil {
			serveSum(w, sum, name)
			return
		}
		h.redirect(w, r, snapshot, s, to.path, to.query)
	}
}

// A route says how a request is answered: with a redirect, unless one of the other fields is set.
type route struct {
	builtin     http.HandlerFunc // answers the request itself; nil for files of the mirrors
	anyScheme   bool             // over http, it is not redirected to https
	status      int              // of an error response, or 0
	problem     error            // behind status
	path, query string           // to append to a mirror's url_prefix
	list        bool             // of all mirrors is asked for
	stats       bool             // numbers of all mirrors are asked for
	metalinkOf  string           // the path of the file whose Metalink is asked for
}

var errTooLong = fmt.Errorf("path and query are longer than %d bytes", maxTarget)

// route returns how a request for a URL, which took size bytes in the request, is answered.
func (h *Handler) route(u *url.URL, size int) (to route) {
	if size > maxTarget {
		return route{status: http.StatusRequestURITooLong, problem: errTooLong}
	}
	target := requestPath(u)
	if to.builtin = h.wellKnownFile(u); to.builtin != nil {
		to.anyScheme = true
		return to
	}
	if to.builtin = h.builtin(target); to.builtin != nil {
		return to
	}
	to.path, to.problem = cleanPath(target, h.inForce.Load().BasePath)
	switch {
	case errors.Is(to.problem, errMalformed):
		to.status = http.StatusBadRequest
	case to.problem != nil:
		to.status, to.anyScheme = http.StatusNotFound, true // nothing in /.well-known/ is ever redirected
	default:
		to.stats = u.RawQuery == statsWord && h.inForce.Load().PublicStats && h.Public != nil
		to.query, to.list = splitQuery(u.RawQuery)
		to.metalinkOf = h.metalinkOf(to.path)
	}
	return to
}

// ask fills in the request of a client to the pool.
func (h *Handler) ask(r *dnspool.Request, c client) {
	*r = dnspool.Request{Family: dnspool.FamilyOf(c.addr), Secure: c.secure, LoadDraw: h.Source.Uint64()}
	if h.Place != nil && c.addr.IsValid() {
		r.Place = h.Place(c.addr)
	}
	if sticky := h.inForce.Load().sticky; sticky != nil && c.addr.IsValid() {
		r.Seed = sticky.Seed(c.addr, h.Now())
	} else {
		r.Seed = h.Source.Uint64()
	}
}

// Header values shared by all responses. They must not be changed.
var (
	noCache = []string{"private, no-cache"} // the next request may have to go to another mirror
)

// redirect answers with a redirect to a mirror that carries the file, or to the fallback.
func (h *Handler) redirect(w http.ResponseWriter, r *http.Request, snapshot *dnspool.Snapshot, s *scratch, path, query string) {
	resumes := r.Method == http.MethodGet && resumes(r.Header.Get("Range"))
	to, ok := h.known(snapshot, s, path, resumes)
	if !ok {
		to = h.find(r.Context(), snapshot, s, path, resumes)
	}
	h.count(snapshot, s, &to, path, kindOfRequest(r))
	switch {
	case to.status == http.StatusServiceUnavailable:
		unavailable(w)
		return
	case to.status != 0:
		fail(w, to.status)
		return
	}
	values := make([]string, 4)
	s.text = append(append(append(s.text[:0], to.prefix...), path...), query...)
	values[0] = string(s.text)
	header := w.Header()
	header["Location"] = values[:1:1]
	header["Cache-Control"] = noCache
	s.text = s.appendLinks(s.text[:0], &to, path, query, len(values[0]))
	if s.text = h.appendDescription(s.text, 0, s, asker{[]byte(r.Host), isWget2(r.UserAgent())}, path, len(values[0])); len(s.text) > 0 {
		values[1] = string(s.text)
		header["Link"] = values[1:2:2]
	}
	if sum := s.sum(); sum != nil {
		s.digest.set(sum)
		values[2], values[3] = string(s.digest.appendDigest(nil)), string(s.digest.appendReprDigest(nil))
		header["Digest"], header["Repr-Digest"] = values[2:3:3], values[3:]
	}
	w.WriteHeader(http.StatusFound)
}

// maxLinked limits the bytes of the headers Location and Link together, so that all headers of a redirect fit into 4
// KiB. That is the default buffer of proxies such as nginx, which answer 502 if it overflows.
const maxLinked = 3600

// appendLinks appends links to the file at the picked mirror and at others, the best first (RFC 6249), as many as fit
// beside a Location of so many bytes. The picked mirror is included, because GNU Wget2 uses the links alone. It appends
// nothing if no other mirror has a link.
func (s *scratch) appendLinks(text []byte, to *destination, path, query string, location int) []byte {
	begin, links := len(text), 0
	if to.mirror == nil {
		return text
	}
	c := &s.choice
	for i := range len(c.RunnersUp) + 1 {
		m := c.Picked
		if i > 0 {
			m = c.RunnersUp[i-1]
		}
		if !s.carriedBy(m) {
			continue
		}
		before := len(text)
		if text = appendLink(text, m, path, query, links+1); location+len(text)-begin > maxLinked {
			text = text[:before]
			break
		}
		links++
	}
	if links < 2 {
		return text[:begin]
	}
	return text
}

func appendLink(text []byte, m *dnspool.Mirror, path, query string, priority int) []byte {
	if priority > 1 {
		text = append(text, ", "...)
	}
	text = append(append(append(append(text, '<'), m.URLPrefix...), path...), query...)
	text = append(text, ">; rel=duplicate; pri="...)
	text = strconv.AppendUint(text, uint64(priority), 10)
	if c := m.Place.Country; c != (dnspool.Code{}) {
		text = append(text, "; geo="...)
		text = append(text, c[0]|0x20, c[1]|0x20) // in lower case
	}
	return text
}

// unavailable answers that no mirror can serve the client.
func unavailable(w http.ResponseWriter) {
	w.Header().Set("Retry-After", retryAfter)
	fail(w, http.StatusServiceUnavailable)
}

// fail answers with a status and its name.
func fail(w http.ResponseWriter, status int) {
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, http.StatusText(status), status)
}
