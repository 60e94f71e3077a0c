package redirector

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"strings"
	"sync/atomic"

	"mirrorpool/dnspool"
	"mirrorpool/dnspool/stats"
	"mirrorpool/health"
	"mirrorpool/health/files"
)

// A basis is what the answer to a request for a file rests on.
type basis uint8

const (
	byListing   basis = iota // it is known that the mirror carries the file
	byAsking                 // the mirror was asked for this request
	byNothing                // it is not known which mirror carries the file, as for folders
	toFallback               // no mirror carries it yet
	notYet                   // the same, without a fallback
	unpublished              // the origin lacks it
	bases                    // how many there are
)

// String returns the basis in lower case, with underscores.
func (b basis) String() string {
	return [bases]string{"listing", "asking", "nothing", "fallback", "not_yet", "unpublished"}[b]
}

// A destination is where a request for a file leads: to a mirror, to a url_prefix, or nowhere.
type destination struct {
	basis
	mirror *dnspool.Mirror // nil if it leads to no mirror
	prefix string          // where it leads; empty if nowhere
	status int             // of an error response, or 0
}

// known returns where a request leads, if that can be told at once. ok is false if mirrors or the origin have to be
// asked.
func (h *Handler) known(snapshot *dnspool.Snapshot, s *scratch, path string, resumes bool) (to destination, ok bool) {
	s.known = nil
	s.request.Carriers = nil
	if h.Catalog == nil || path == "" || strings.HasSuffix(path, "/") {
		return h.toMirror(byNothing, h.pick(snapshot, s, resumes)), true
	}
	plain := unescape(path)
	k := h.Catalog.FindIn(&s.carriers, plain, h.Now())
	switch {
	case k.Status == files.Folder:
		return h.toMirror(byNothing, h.pick(snapshot, s, resumes)), true
	case k.Status == files.Unpublished:
		return to, false
	case h.isFromOrigin(plain):
		return h.toOrigin(s.request.Secure), true
	}
	return h.amongCarriers(snapshot, s, path, k, resumes)
}

// enoughCarriers is how many mirrors have to be known to carry a file so that no client waits for another one's answer:
// fewer could not bear all the clients that ask for files which are asked for once.
const enoughCarriers = 3

// amongCarriers is known for a file that mirrors carry or may carry. Where enough are known to carry it, the client
// does not wait for the others.
func (h *Handler) amongCarriers(
	snapshot *dnspool.Snapshot, s *scratch, path string, k *files.Carriers, resumes bool,
) (to destination, ok bool) {
	s.known, s.request.Carriers = k, k.Any
	picked := h.pick(snapshot, s, resumes)
	switch {
	case s.choice.Busy:
		return h.toMirror(byNothing, nil), true
	case picked == nil:
		return to, false
	case files.Contains(k.Has, picked.Number):
		return h.toMirror(byListing, picked), true
	case picked.ForcedUp(health.HTTP) != nil: // this host may not reach it
		return h.toMirror(byNothing, picked), true
	}
	onDemand := h.files.Load().OnDemand
	if onDemand {
		plain := unescape(path)
		asked := h.Catalog.AskAside(plain, candidates(&s.choice, k, encodedPath(plain)))
		if asked && k.Carrying() < enoughCarriers {
			return to, false
		}
	}
	s.request.Carriers = k.Has
	switch known := h.pick(snapshot, s, resumes); {
	case known != nil:
		return h.toMirror(byListing, known), true
	case s.choice.Busy:
		return h.toMirror(byNothing, nil), true
	case onDemand:
		return to, false
	}
	s.request.Carriers = k.Any
	return h.toMirror(byNothing, h.pick(snapshot, s, resumes)), true
}

// toMirror is a destination at a mirror, or nowhere if that is nil.
func (h *Handler) toMirror(b basis, m *dnspool.Mirror) destination {
	if m == nil {
		return destination{basis: b, status: http.StatusServiceUnavailable}
	}
	return destination{basis: b, mirror: m, prefix: m.URLPrefix}
}

// minVerified is the share of the clients at a place that mirrors with a verified copy of a file have to get for all of
// these clients to be sent there: they get twice as many clients at most.
const minVerified = 0.5 - 1e-9 // sums of shares are rounded

// pick chooses a mirror for the request in s, or returns nil. One whose copy of the file is verified is preferred: most
// clients check nothing, and a mirror with wrong bytes may keep from being read. A request that resumes a download, or
// tries it again, gets another mirror than the one before, where there is one.
func (h *Handler) pick(snapshot *dnspool.Snapshot, s *scratch, resumes bool) *dnspool.Mirror {
	s.request.Verified = nil
	snapshot.Choose(&s.choice, &s.request)
	if s.prefersVerified() {
		s.request.Verified = s.known.Verified
		snapshot.Choose(&s.choice, &s.request)
	}
	if resumes {
		h.pickAnother(snapshot, s)
	}
	return s.choice.Picked
}

// prefersVerified reports whether mirrors with a verified copy are to get the clients of the others. s has the choice
// among all.
func (s *scratch) prefersVerified() bool {
	return s.choice.Picked != nil && s.known != nil && !containsAll(s.known.Verified, s.request.Carriers) &&
		s.choice.ShareOf(s.known.Verified) >= minVerified
}

// containsAll reports whether all bits of some mirrors are set among others.
func containsAll(bits, some []uint64) bool {
	for i, word := range some {
		if i < len(bits) {
			word &^= bits[i]
		}
		if word != 0 {
			return false
		}
	}
	return true
}

// pickAnother chooses another mirror than the one that is picked, where there is one.
func (h *Handler) pickAnother(snapshot *dnspool.Snapshot, s *scratch) {
	if s.choice.Picked == nil || h.inForce.Load().sticky == nil {
		return
	}
	sticky := s.request.Seed
	s.request.Without, s.request.Seed = s.choice.Picked, h.Source.Uint64()
	snapshot.Choose(&s.choice, &s.request)
	s.request.Without, s.request.Seed = nil, sticky
}

// find returns where a request leads. It asks the origin and mirrors, for [files.AskTime] at most.
func (h *Handler) find(ctx context.Context, snapshot *dnspool.Snapshot, s *scratch, path string, resumes bool) destination {
	ctx, cancel := context.WithTimeout(ctx, files.AskTime)
	defer cancel()
	plain := unescape(path)
	known := h.inquire(ctx, plain)
	switch {
	case known == originLacks && h.files.Load().Unpublished != "redirect":
		return h.unpublished(snapshot, s, resumes)
	case h.isFromOrigin(plain):
		return h.toOrigin(s.request.Secure)
	case known == originLacks:
		return h.unpublished(snapshot, s, resumes)
	case known == originBusy: // nor are mirrors asked: clients may make up paths
		return destination{basis: notYet, status: http.StatusServiceUnavailable}
	}
	order := h.newAskOrder(snapshot, s, plain, resumes)
	order.few = known != originHas && h.Catalog.Find(plain, h.Now()).Status == files.Unpublished
	if h.Catalog.Find(plain, h.Now()).Carrying() > 0 {
		h.Catalog.AskBriefly(ctx, plain, order.next())
	} else {
		h.Catalog.Ask(ctx, plain, order.next)
	}
	return h.unsure(snapshot, s, plain, known, resumes)
}

// What is known of a path at the origin.
type originState uint8

const (
	originHas    originState = iota
	originLacks              // it has just said so
	originBusy               // it was asked for too many paths, and may be asked soon
	originSilent             // it gives no answer
	originMute               // it cannot be asked, and its list lacks the path
	noOrigin
)

// inquire asks the origin for a path that is not known to be published.
func (h *Handler) inquire(ctx context.Context, plain string) originState {
	switch {
	case h.Catalog.Find(plain, h.Now()).Status == files.Published:
		return originHas
	case h.files.Load().Origin == "":
		return noOrigin
	}
	switch err := h.Catalog.Publishes(ctx, plain); {
	case err == nil:
		return originHas
	case errors.Is(err, fs.ErrNotExist):
		return originLacks
	case errors.Is(err, files.ErrOriginBusy):
		return originBusy
	case !errors.Is(err, files.ErrCannotAsk):
		return originSilent
	}
	return originMute
}

// unsure returns where a request leads if the mirror that would be picked has not said that it carries the file.
func (h *Handler) unsure(snapshot *dnspool.Snapshot, s *scratch, plain string, known originState, resumes bool) destination {
	k := h.Catalog.Find(plain, h.Now())
	s.known = k
	pick := func(among []uint64) *dnspool.Mirror {
		s.request.Carriers = among
		return h.pick(snapshot, s, resumes)
	}
	if picked := pick(k.Has); picked != nil || s.choice.Busy {
		return h.toMirror(byAsking, picked)
	}
	fallback := h.fallback(s.request.Secure)
	isNew := k.Recent || k.Status != files.Published
	switch {
	case known == originHas && fallback != "":
		return destination{basis: toFallback, prefix: fallback}
	case known == originHas && !isNew: // the mirrors that cannot be asked are likely to have it
		if picked := pick(k.Mute); picked != nil {
			return h.toMirror(byNothing, picked)
		}
	case k.Status == files.Unlisted: // nothing is known of any file
		if picked := pick(k.Any); picked != nil {
			return h.toMirror(byNothing, picked)
		}
		s.known = nil
		return h.toMirror(byNothing, pick(nil))
	case known == originMute:
		return h.unpublished(snapshot, s, resumes)
	}
	return destination{basis: notYet, status: http.StatusServiceUnavailable}
}

// unpublished returns where a request for a path leads that the origin lacks.
func (h *Handler) unpublished(snapshot *dnspool.Snapshot, s *scratch, resumes bool) destination {
	if h.files.Load().Unpublished == "redirect" {
		s.known, s.request.Carriers = nil, nil
		return h.toMirror(byNothing, h.pick(snapshot, s, resumes))
	}
	return destination{basis: unpublished, status: http.StatusNotFound}
}

// count counts the answer to a request of a kind. Now and then the mirror is asked whether it has what the client was
// sent for.
func (h *Handler) count(snapshot *dnspool.Snapshot, s *scratch, to *destination, path string, kind stats.Kind) {
	h.countDownload(s, to, path, kind)
	if to.mirror == nil {
		if to.basis < toFallback {
			h.counts.unavailable.Add(1)
		} else {
			h.counts.bases[to.basis].Add(1)
		}
		return
	}
	h.counts.bases[to.basis].Add(1)
	h.counts.counter(snapshot, to.mirror)[snapshot.Reason(&s.choice, &s.request)].Add(1)
	if to.basis != byListing || !h.Catalog.WantsSample(h.Now()) {
		return
	}
	if addr, ok := upAddress(to.mirror); ok {
		h.Catalog.Verify(unescape(path), candidate(to.mirror, addr, encodedPath(unescape(path))))
	}
}

// carry has the request in s consider only mirrors that carry the file at a path, as far as that is known.
func (h *Handler) carry(s *scratch, path string) {
	s.known, s.request.Carriers = nil, nil
	if h.Catalog == nil {
		return
	}
	plain := unescape(path)
	k := h.Catalog.FindIn(&s.carriers, plain, h.Now())
	switch {
	case k.Status != files.Folder && h.isFromOrigin(plain):
		s.known, s.request.Carriers = k, make([]uint64, len(k.Has)) // no mirror
	case k.Status == files.Published:
		s.known, s.request.Carriers = k, k.Sure
	}
}

// copies returns how the file at a path is with each mirror; nil where nothing is known of it.
func (h *Handler) copies(path string) map[string]files.Copy {
	if h.Catalog == nil {
		return nil
	}
	return h.Catalog.Copies(unescape(path))
}

// carriedBy reports whether a link to a mirror may be given.
func (s *scratch) carriedBy(m *dnspool.Mirror) bool {
	return s.known == nil || m == s.choice.Picked || files.Contains(s.known.Sure, m.Number)
}

// resumes reports whether a Range header is open-ended: of a download that goes on, or is tried again. Clients that
// fetch segments side by side say where each ends.
func resumes(header string) bool {
	const unit = "bytes="
	header = strings.TrimSpace(header)
	if len(header) < len(unit) || !strings.EqualFold(header[:len(unit)], unit) {
		return false
	}
	first, open := strings.CutSuffix(strings.TrimSpace(header[len(unit):]), "-")
	return open && first != "" && strings.Trim(first, "0123456789") == ""
}

// baseCounts count answers to requests for files by what they rest on.
type baseCounts [bases]atomic.Uint64
