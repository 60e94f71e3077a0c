package redirector

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"sync/atomic"
	"time"

	"mirrorpool/dnspool"
)

// A legacyList is the pool in the format that Tails Upgrader <= 5.8 and Tails' JavaScript dispatcher read. They pick
// from it by weight, mostly over IPv4, so that it lists the mirrors to which such a client would be redirected, and no
// others. It is compact: the Upgrader refuses a list of more than 8,192 bytes.
type legacyList struct {
	snapshot *dnspool.Snapshot
	text     []byte
	etag     string
	modified time.Time // when a snapshot first had this text
}

// newLegacyList renders the list of a snapshot. It keeps text and time of previous, which may be nil, if they are the
// same.
func newLegacyList(s *dnspool.Snapshot, previous *legacyList) (*legacyList, error) {
	type entry struct {
		URLPrefix string `json:"url_prefix"`
		Weight    uint32 `json:"weight"`
	}
	list := struct {
		Version int     `json:"version"`
		Mirrors []entry `json:"mirrors"`
	}{1, []entry{}}
	for _, m := range s.LegacyMirrors() {
		list.Mirrors = append(list.Mirrors, entry{m.URLPrefix, m.Weight})
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(list); err != nil {
		return nil, err
	}
	if previous != nil && bytes.Equal(text.Bytes(), previous.text) {
		next := *previous
		next.snapshot = s
		return &next, nil
	}
	sum := sha256.Sum256(text.Bytes())
	etag := `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
	return &legacyList{snapshot: s, text: text.Bytes(), etag: etag, modified: s.Built}, nil
}

// A legacyCache holds the list that was rendered last.
type legacyCache struct{ latest atomic.Pointer[legacyList] }

// forSnapshot returns the list of a snapshot, and renders it on the first request. Concurrent first requests may each
// render it, with the same result.
func (c *legacyCache) forSnapshot(s *dnspool.Snapshot) (*legacyList, error) {
	latest := c.latest.Load()
	if latest != nil && latest.snapshot == s {
		return latest, nil
	}
	next, err := newLegacyList(s, latest)
	if err == nil {
		c.latest.CompareAndSwap(latest, next)
	}
	return next, err
}

// serveLegacyList answers GET and HEAD with the list.
func (h *Handler) serveLegacyList(w http.ResponseWriter, r *http.Request) {
	snapshot := h.Current.Load()
	if snapshot == nil {
		unavailable(w)
		return
	}
	list, err := h.legacy.forSnapshot(snapshot)
	if err != nil {
		fail(w, http.StatusInternalServerError)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", "public, max-age=60")
	header.Set("Access-Control-Allow-Origin", "*") // the dispatcher's page is on another origin
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("ETag", list.etag)
	// ServeContent evaluates the conditional headers only: it would buffer 32 kB for each slow client.
	head := r.Clone(r.Context())
	head.Method = http.MethodHead
	head.Header.Del("Range")
	answer := headWriter{ResponseWriter: w}
	http.ServeContent(&answer, head, "", list.modified, bytes.NewReader(list.text))
	if answer.status == http.StatusOK && r.Method == http.MethodGet {
		w.Write(list.text) // an error means that the client is gone
	}
}

// A headWriter notes the status of a response, and removes Accept-Ranges.
type headWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader writes the status and the headers.
func (w *headWriter) WriteHeader(status int) {
	w.status = status
	w.Header().Del("Accept-Ranges")
	w.ResponseWriter.WriteHeader(status)
}
