package redirector

import (
	"net/http"
	"strings"

	"mirrorpool/dnspool/stats"
	"mirrorpool/health/files"
)

// countDownload counts a redirect to a file for the numbers of downloads. Folders are not downloaded.
func (h *Handler) countDownload(s *scratch, to *destination, path string, kind stats.Kind) {
	if h.Stats == nil || to.prefix == "" || path == "" || strings.HasSuffix(path, "/") {
		return
	}
	known := s.known != nil && s.known.Status == files.Published
	h.Stats.Count(kind, unescape(path), known, to.prefix, stats.Country(s.request.Place.Country))
}

// kindOfRequest says how a redirected request is counted.
func kindOfRequest(r *http.Request) stats.Kind {
	if r.Method == http.MethodHead {
		return stats.Head
	}
	header := r.Header
	return kindOf(kindOfRange(header.Get("Range")), header.Get("If-None-Match") != "" || header.Get("If-Modified-Since") != "")
}

// kindOf says how a GET is counted, by its range and whether it is conditional.
func kindOf(ranged stats.Kind, conditional bool) stats.Kind {
	if conditional && ranged == stats.Download {
		return stats.Conditional
	}
	return ranged
}

// kindOfRange says how a GET with a Range header is counted: as a download if the (first) range begins with the first
// byte, or if the header is to be ignored (RFC 9110 section 14.2).
func kindOfRange(header string) stats.Kind {
	const unit = "bytes="
	header = strings.TrimSpace(header)
	if len(header) < len(unit) || !strings.EqualFold(header[:len(unit)], unit) {
		return stats.Download
	}
	first, rest, ok := strings.Cut(strings.TrimSpace(header[len(unit):]), "-")
	switch {
	case !ok || strings.Trim(first, "0123456789") != "":
		return stats.Download
	case first == "":
		return stats.Segment // the last bytes of the file
	case strings.Trim(first, "0") == "":
		return stats.Download
	case strings.TrimSpace(rest) == "":
		return stats.Resumed
	}
	return stats.Segment
}
