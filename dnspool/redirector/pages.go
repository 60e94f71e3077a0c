package redirector

import (
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"

	"mirrorpool/dnspool"
)

// A page lists all mirrors of a file: ?mirrorlist or a Metalink. It costs the memory of a thousand redirects while a
// client reads it, and the time of a thousand to make.
const (
	maxPages          = 16      // at a time
	maxPagesOfNetwork = 4       // at a time, for one client network
	maxListed         = 1000    // mirrors on a page
	maxPageText       = 1 << 20 // bytes of links on a page, approximately
	pageRetryAfter    = "5"     // seconds
)

// A pageLimiter bounds the number of pages being made or sent. The zero value is ready.
type pageLimiter struct {
	mu        sync.Mutex
	pages     int
	byNetwork map[netip.Prefix]int

	making  sync.Mutex // held to make one: a single CPU at most, so that redirects are not delayed
	refused atomic.Uint64
}

// enter admits a page for a client of a network, until leave is called. The zero Prefix stands for clients whose
// network is not known: only the total limits them.
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

// servePage answers with a page that write makes. At the limit it answers 503 with Retry-After.
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
	w.Write(text) // an error means that the client is gone
}

func (h *Handler) makePage(write func() (int, []byte)) (int, []byte) {
	h.pages.making.Lock()
	defer h.pages.making.Unlock()
	return write()
}

// maxOnPage is how many mirrors fit on a page whose links have a path and a query.
func maxOnPage(path, query string) int {
	return min(maxListed, maxPageText/(len(path)+len(query)+1))
}
