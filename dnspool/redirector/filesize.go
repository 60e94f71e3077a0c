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
	sizeTime           = 2 * time.Second // for all questions of one request
	sizeLifetime       = 5 * time.Minute
	maxSizes           = 1024 // kept in memory
	maxSizeAsks        = 20   // per second, to all mirrors together
	maxNetworkSizeAsks = 10   // of these, for one client network
)

// A fileSize is what a mirror said about a file.
type fileSize struct {
	found, known bool
	bytes        int64
	until        time.Time
}

// fileSizes asks mirrors for the sizes of files, and remembers them for a while. The zero value is ready.
type fileSizes struct {
	mu     sync.Mutex
	known  map[string]fileSize // by path
	second int64               // for which asks counts
	asks   int
	byNet  map[netip.Prefix]int // asks for one client network
}

// fileSizeOf returns the size of the file at a path from memory, or asks a mirror that is picked for it. At the limits
// of questions per second, of all clients and of one network, the answer is that it is not known.
func (h *Handler) fileSizeOf(ctx context.Context, network netip.Prefix, m *dnspool.Mirror, path string) fileSize {
	addr, ok := upAddress(m)
	now := h.Now()
	size, remembered := h.sizes.remembered(path, now)
	if remembered || h.FileSize == nil || !ok || !h.sizes.mayAsk(now, network) {
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
	for other := range s.known { // in no order
		if len(s.known) < maxSizes {
			break
		}
		delete(s.known, other)
	}
	s.known[path] = size
}

// mayAsk counts a question for a client of a network, and reports whether it is within the limits.
func (s *fileSizes) mayAsk(now time.Time, network netip.Prefix) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if second := now.Unix(); second != s.second {
		s.second, s.asks, s.byNet = second, 0, map[netip.Prefix]int{}
	}
	if s.asks >= maxSizeAsks || s.byNet[network] >= maxNetworkSizeAsks {
		return false
	}
	s.asks++
	s.byNet[network]++
	return true
}

// upAddress returns an address at which a mirror is up for redirects.
func upAddress(m *dnspool.Mirror) (netip.Addr, bool) {
	for _, e := range m.Endpoints { // IPv4 first
		if e.Role == health.HTTP && e.State == health.Up && e.ExcludedBecause == "" {
			return e.Address, true
		}
	}
	return netip.Addr{}, false
}
