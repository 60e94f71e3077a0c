package redirector

import (
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"

	"mirrorpool/dnspool"
)

// A page is an answer with all mirrors of a file. It takes a thousand times the memory of a redirect while a client reads
// it, and the time of a thousand to make.
const (
	maxPages          = 16      // that are made or read at a time
	maxPagesOfNetwork = 4       // of these, by one client network
	maxListed         = 1000    // mirrors on a page
	maxPageText       = 1 << 20 // bytes of links on a page, about
	pageRetryAfter    = "5"     // seconds
)

// A pageLimiter bounds how many pages there are. The zero value is ready.
type pageLimiter struct {
	mu        sync.Mutex
	pages     int
	byNetwork map[netip.Prefix]int

	making  sync.Mutex // one at a time, so that redirects find a CPU
	refused atomic.Uint64
}

// enter takes a place for a page that a client of a network asks for, until leave is called. Proxies' clients may be of
// any network: the zero Prefix is limited only together with all others.
func (l *pageLimiter) enter(network netip.Prefix) (leave func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pages >= maxPages || network.IsValid() && l.byNetwork[network] >= maxPagesOfNetwork {
		return nil, false
	}
	if l.byNetwork == nil {
		l.byNetwork = map[netip.Prefix]int{}
	}
	l.pages++
	l.byNetwork[network]++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.pages--
		if l.byNetwork[network]--; l.byNetwork[network] == 0 {
			delete(l.byNetwork, network)
		}
	}, true
}

// servePage answers with a page, which write makes: its headers, status and text. Where there are too many already, the
// client is to come back.
func (h *Handler) servePage(w http.ResponseWriter, addr netip.Addr, write func() (status int, text []byte)) {
	var network netip.Prefix
	if addr.IsValid() {
		network = dnspool.ClientNetwork(addr)
	}
	leave, ok := h.pages.enter(network)
	if !ok {
		h.pages.refused.Add(1)
		w.Header().Set("Retry-After", pageRetryAfter)
		fail(w, http.StatusServiceUnavailable)
		return
	}
	defer leave()
	status, text := h.makePage(write)
	if text == nil {
		if status == http.StatusServiceUnavailable {
			unavailable(w)
		} else {
			fail(w, status)
		}
		return
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header()["Cache-Control"] = noCache
	w.WriteHeader(status)
	w.Write(text) // the client's going away is its own affair
}

func (h *Handler) makePage(write func() (int, []byte)) (int, []byte) {
	h.pages.making.Lock()
	defer h.pages.making.Unlock()
	return write()
}

// maxOnPage is how many mirrors a page has at most, if each is linked to with a path and a query.
func maxOnPage(path, query string) int {
	return min(maxListed, maxPageText/(len(path)+len(query)+1))
}
