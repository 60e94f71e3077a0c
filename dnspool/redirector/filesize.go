package redirector

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"mirrorpool/dnspool"
	"mirrorpool/health"
)

const (
	sizeTime     = 2 * time.Second // for all that one request asks a mirror
	sizeLifetime = 5 * time.Minute
	maxSizes     = 1024 // that are remembered
	maxSizeAsks  = 20   // in a second, of all mirrors together
)

// A fileSize is what a mirror says of a file.
type fileSize struct {
	found, known bool
	bytes        int64
	until        time.Time
}

// fileSizes asks mirrors for the sizes of files, and remembers them for a while. The zero value is ready.
type fileSizes struct {
	mu     sync.Mutex
	known  map[string]fileSize // by path
	second int64               // in which asks were counted
	asks   int
}

// look returns what is known of the file at a path, or else asks a mirror that is said to have it. Many clients at once do
// not make many questions: then the answer is that it is not known.
func (h *Handler) look(ctx context.Context, m *dnspool.Mirror, path string) fileSize {
	addr, ok := upAddress(m)
	now := h.Now()
	size, remembered := h.sizes.remembered(path, now)
	if remembered || h.FileSize == nil || !ok || !h.sizes.mayAsk(now) {
		return size
	}
	u, err := url.Parse(m.URLPrefix + path)
	if err != nil {
		return size
	}
	bytes, err := h.FileSize(ctx, u, addr)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return size
	}
	size = fileSize{err == nil, true, bytes, now.Add(sizeLifetime)}
	h.sizes.remember(path, size)
	return size
}

func (s *fileSizes) remembered(path string, now time.Time) (fileSize, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	size, ok := s.known[path]
	if !ok || now.After(size.until) {
		return fileSize{}, false
	}
	return size, true
}

func (s *fileSizes) remember(path string, size fileSize) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		s.known = map[string]fileSize{}
	}
	for other := range s.known { // any will do
		if len(s.known) < maxSizes {
			break
		}
		delete(s.known, other)
	}
	s.known[path] = size
}

// mayAsk reports whether a mirror may be asked now, and counts it.
func (s *fileSizes) mayAsk(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if second := now.Unix(); second != s.second {
		s.second, s.asks = second, 0
	}
	s.asks++
	return s.asks <= maxSizeAsks
}

// upAddress returns an address at which a mirror serves redirected clients.
func upAddress(m *dnspool.Mirror) (netip.Addr, bool) {
	for _, e := range m.Endpoints { // IPv4 first
		if e.Role == health.HTTP && e.State == health.Up {
			return e.Address, true
		}
	}
	return netip.Addr{}, false
}
