package redirector

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"mirrorpool/config"
	"mirrorpool/health/files"
	"mirrorpool/health/files/checksums"
)

// hostPunctuation is what may be in a Host header besides letters and digits.
const hostPunctuation = ".-:[]"

// A fileConfig is the configuration of files, as requests use it. It is not changed once in force.
type fileConfig struct {
	config.Files
	fromOrigin *files.Matcher
}

// SetFiles puts another configuration of files in force for the requests to come.
func (h *Handler) SetFiles(c config.Files) {
	h.files.Store(&fileConfig{c, files.Patterns(c.FromOrigin).Compile()})
}

// fallback returns where a client is sent for files that no mirror serves, or "". A client is never sent from https to
// http.
func (h *Handler) fallback(secure bool) string {
	fallback := h.files.Load().Fallback
	if secure && !strings.HasPrefix(fallback, "https:") {
		return ""
	}
	return fallback
}

// isFromOrigin reports whether no mirror serves the file at a plain path: a mirror that has altered a file must not
// serve what clients verify it by.
func (h *Handler) isFromOrigin(plain string) bool {
	c := h.files.Load()
	return c.Fallback != "" && c.fromOrigin.Match(plain)
}

// toOrigin is the destination of a request for a file that no mirror serves.
func (h *Handler) toOrigin(secure bool) destination {
	if fallback := h.fallback(secure); fallback != "" {
		return destination{basis: toFallback, prefix: fallback}
	}
	return destination{basis: notYet, status: http.StatusServiceUnavailable}
}

// sumOf returns the checksum that the request for a path such as x.img.sha256 asks for, and the name of its file. It is
// nil if the checksum is not known, or if the origin has a file of that path itself.
func (h *Handler) sumOf(path string) (sum *checksums.Sum, name string) {
	if h.Catalog == nil || h.Catalog.Sums == nil || !strings.HasSuffix(path, ".sha256") && !strings.HasSuffix(path, ".sha512") {
		return nil, ""
	}
	plain := unescape(path)
	file := h.Catalog.Sums.FindPath(plain[:len(plain)-len(".sha256")])
	if file == nil || file.Sum() == nil || !strings.HasSuffix(plain, file.Sum().Suffix()) ||
		h.Catalog.Find(plain, h.Now()).Status == files.Published {
		return nil, ""
	}
	return file.Sum(), file.Path[strings.LastIndexByte(file.Path, '/')+1:]
}

// serveSum answers with the checksum of a file, as sha256sum(1) prints it.
func serveSum(w http.ResponseWriter, sum *checksums.Sum, name string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header()["Cache-Control"] = noCache
	escaped := strings.NewReplacer(`\`, `\\`, "\n", `\n`).Replace(name)
	if escaped != name {
		w.Write([]byte(`\`)) // an error is the client's
	}
	fmt.Fprintf(w, "%s  %s\n", sum, escaped)
}

// sum returns the checksum of the file that a request is redirected to, or nil.
func (s *scratch) sum() *checksums.Sum {
	if s.known == nil || s.known.Sum == nil {
		return nil
	}
	return s.known.Sum.Sum()
}

// A digest is a checksum in base64, as headers have it.
type digest struct {
	sum  *checksums.Sum
	room [checksums.MaxBase64]byte
	text []byte // in room
}

func (d *digest) set(sum *checksums.Sum) {
	d.sum = sum
	d.text = sum.AppendBase64(d.room[:0])
}

// appendDigest appends the value of the header Digest (RFC 3230), which aria2 and GNU Wget2 check files with.
func (d *digest) appendDigest(text []byte) []byte {
	if d.sum.Algorithm() == checksums.SHA512 {
		text = append(text, "SHA-512="...)
	} else {
		text = append(text, "SHA-256="...)
	}
	return append(text, d.text...)
}

// appendReprDigest appends the value of the header Repr-Digest (RFC 9530).
func (d *digest) appendReprDigest(text []byte) []byte {
	text = append(append(text, d.sum.Algorithm()...), "=:"...)
	return append(append(text, d.text...), ':')
}

// An asker is what a request says of the client's program.
type asker struct {
	host  []byte // the header Host, as it came
	wget2 bool   // see isWget2
}

// wget2 is how the User-Agent of GNU Wget2 begins.
const wget2 = "wget2"

// isWget2 reports whether a User-Agent is that of GNU Wget2.
func isWget2(agent string) bool {
	return len(agent) >= len(wget2) && strings.EqualFold(agent[:len(wget2)], wget2)
}

// hasOddPorts reports whether no listener has a port that clients leave out of the header Host.
func hasOddPorts(c *config.HTTP) bool {
	addresses := c.Listen
	if c.TLS != nil {
		addresses = slices.Concat(addresses, c.TLS.Listen)
	}
	return !slices.ContainsFunc(addresses, func(address string) bool {
		_, port, _ := net.SplitHostPort(address)
		return port == "80" || port == "443"
	})
}

// namesPort reports whether a Host header has a port.
func namesPort(host []byte) bool {
	return bytes.LastIndexByte(host, ':') > bytes.LastIndexByte(host, ']')
}

// appendDescription appends to the links of a file, which begin at a byte of text, the one to its Metalink (RFC 6249
// section 6), if that has a checksum and there is room. The link is a whole URL at the host that the client has named:
// GNU Wget2 1.99 takes a relative one for a host. It follows that link alone where it comes first; and since it leaves
// out any port of the host, at an odd port it would get nothing there, and no file.
func (h *Handler) appendDescription(text []byte, begin int, s *scratch, by asker, path string, location int) []byte {
	c := h.inForce.Load()
	if c.NoMetalinks || s.sum() == nil || path == "" || len(by.host) == 0 || !consistsOf(by.host, hostPunctuation) ||
		by.wget2 && len(text) == begin && c.oddPort && !namesPort(by.host) {
		return text
	}
	before := len(text)
	if before > begin {
		text = append(text, ", "...)
	}
	scheme := "<http://"
	if s.request.Secure {
		scheme = "<https://"
	}
	text = append(append(append(append(text, scheme...), by.host...), c.BasePath...), path...)
	text = append(text, `.meta4>; rel=describedby; type="application/metalink4+xml"`...)
	if location+len(text)-begin > maxLinked {
		return text[:before]
	}
	return text
}

// published returns when a file was published, as a Metalink has it; empty if that is not known.
func published(f *checksums.File) string {
	if f == nil || f.Time == 0 {
		return ""
	}
	return time.Unix(int64(f.Time), 0).UTC().Format(time.RFC3339)
}
