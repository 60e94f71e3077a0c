package redirector

import (
	"bytes"
	"cmp"
	"context"
	"encoding/xml"
	"net/http"
	"net/url"
	"strings"

	"mirrorpool/dnspool"
	"mirrorpool/health/files"
	"mirrorpool/health/files/checksums"
)

// metalinkOf returns the path of the file whose Metalink a path asks for, or "" if it asks for none.
func (h *Handler) metalinkOf(path string) string {
	if h.inForce.Load().NoMetalinks {
		return ""
	}
	for _, suffix := range [...]string{".meta4", ".metalink"} {
		if file, ok := strings.CutSuffix(path, suffix); ok {
			return cmp.Or(file, "/") // a folder
		}
	}
	return ""
}

// serveMetalink answers with a Metalink, or with a redirect if a mirror has a file of that name.
func (h *Handler) serveMetalink(
	w http.ResponseWriter, r *http.Request, snapshot *dnspool.Snapshot, s *scratch, c client, to *route,
) {
	if h.isPublished(to.path) {
		h.redirect(w, r, snapshot, s, to.path, to.query)
		return
	}
	if h.isOfNothing(r.Context(), to) {
		fail(w, http.StatusNotFound)
		return
	}
	h.carry(s, to.metalinkOf)
	about := metalinkFile{path: to.metalinkOf, known: h.checksumFile(to.metalinkOf)}
	about.size, about.origin = about.knownSize(), h.metalinkOrigin(s, to.metalinkOf)
	if h.pick(snapshot, s, false) != nil {
		ctx, cancel := context.WithTimeout(r.Context(), sizeTime)
		defer cancel()
		network := dnspool.ClientNetwork(c.addr)
		if h.fileSizeOf(ctx, network, s.choice.Picked, to.path).found {
			h.redirect(w, r, snapshot, s, to.path, to.query)
			return
		}
		if !about.size.found {
			about.size = h.fileSizeOf(ctx, network, s.choice.Picked, to.metalinkOf)
		}
	}
	h.servePage(w, c.addr, func() (int, []byte) {
		return metalinkPage(w.Header(), snapshot.Explain(&s.request), &about, about.hash(r.UserAgent()))
	})
}

// isOfNothing reports whether a path asks for the Metalink of a file that the origin lacks, and is no file of the
// origin itself: clients get 404 for both.
func (h *Handler) isOfNothing(ctx context.Context, to *route) bool {
	if h.Catalog == nil || h.files.Load().Unpublished == "redirect" {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, files.AskTime)
	defer cancel()
	for _, path := range [...]string{to.metalinkOf, to.path} {
		plain := unescape(path)
		if h.Catalog.Find(plain, h.Now()).Status != files.Unpublished || h.inquire(ctx, plain) != originLacks {
			return false
		}
	}
	return true
}

// A metalinkFile is what a Metalink says of a file, besides where it is.
type metalinkFile struct {
	path   string          // escaped
	known  *checksums.File // nil if its checksum is not known
	size   fileSize
	origin string // the url_prefix of the fallback, if that serves it; or ""
}

// metalinkOrigin returns the url_prefix of the fallback, if that serves the file at a path, as a redirect would lead;
// or "". The carriers of the file are in s.
func (h *Handler) metalinkOrigin(s *scratch, file string) string {
	uncarried := s.known != nil && s.known.Status == files.Published && s.known.Carrying() == 0
	if uncarried || h.isFromOrigin(unescape(file)) {
		return h.fallback(s.request.Secure)
	}
	return ""
}

// isPublished reports whether the origin has a file at a path.
func (h *Handler) isPublished(path string) bool {
	return h.Catalog != nil && h.Catalog.Find(unescape(path), h.Now()).Status == files.Published
}

// checksumFile returns the file at a path, if its checksum is known, or nil.
func (h *Handler) checksumFile(path string) *checksums.File {
	if h.Catalog == nil || h.Catalog.Sums == nil {
		return nil
	}
	if f := h.Catalog.Sums.FindPath(unescape(path)); f != nil && f.Sum() != nil {
		return f
	}
	return nil
}

// knownSize is the size of the file, as the origin says.
func (f *metalinkFile) knownSize() fileSize {
	if f.known == nil || f.known.Size < 0 {
		return fileSize{}
	}
	return fileSize{found: true, known: true, bytes: f.known.Size}
}

// hash is what the Metalink says for a client with a User-Agent; nil if nothing.
func (f *metalinkFile) hash(agent string) *metalinkHash {
	switch {
	case f.known != nil:
		return &metalinkHash{f.known.Sum().Algorithm(), f.known.Sum().String()}
	case isWget2(agent): // it downloads nothing without a hash
		return &metalinkHash{"unknown", "-"}
	}
	return nil
}

// fileName returns the name under which a client may store the file at a path (RFC 5854 section 4.1.2.1). ok is false
// for a folder, and for a name that would lead out of the client's folder.
func fileName(path string) (name string, ok bool) {
	if _, err := cleanPath("/"+path, "/"); err != nil {
		return "", false // such as "..", which was "...meta4" before the suffix was cut off
	}
	name, err := url.PathUnescape(path[strings.LastIndexByte(path, '/')+1:])
	return name, err == nil && name != "" && name != "." && !strings.ContainsAny(name, `/\`)
}

// A metalink is a Metalink document (RFC 5854).
type metalink struct {
	XMLName   xml.Name `xml:"urn:ietf:params:xml:ns:metalink metalink"`
	Generator string   `xml:"generator"`
	Published string   `xml:"published,omitempty"`
	File      struct {
		Name string        `xml:"name,attr"`
		Size *int64        `xml:"size"` // without it, GNU Wget2 takes the file for empty, and saves nothing
		Hash *metalinkHash `xml:"hash"`
		URLs []metalinkURL `xml:"url"`
	} `xml:"file"`
}

// A metalinkHash is the checksum of a file. GNU Wget2 needs one to download the file: without any it takes a file that
// it has not downloaded yet for complete. A hash of a type that it does not know is not checked.
type metalinkHash struct {
	Type string `xml:"type,attr"`
	Text string `xml:",chardata"`
}

type metalinkURL struct {
	Priority int    `xml:"priority,attr"` // 1 is the best
	Location string `xml:"location,attr,omitempty"`
	URL      string `xml:",chardata"`
}

// metalinkPage returns a Metalink with the file at all mirrors that may serve the client, the picked one first.
func metalinkPage(
	header http.Header, e dnspool.Explanation, about *metalinkFile, hash *metalinkHash,
) (status int, text []byte) {
	file, size := about.path, about.size
	name, ok := fileName(file)
	if !ok {
		return http.StatusNotFound, nil
	}
	doc := metalink{Generator: "mirrorpool", Published: published(about.known)}
	doc.File.Name, doc.File.Hash = name, hash
	if size.found {
		doc.File.Size = &size.bytes
	}
	if about.origin != "" {
		doc.File.URLs = append(doc.File.URLs, metalinkURL{Priority: 1, URL: about.origin + file})
	}
	for i := range e.Mirrors {
		m := &e.Mirrors[i]
		if m.Order == 0 || i == maxOnPage(file, "") {
			break
		}
		doc.File.URLs = append(doc.File.URLs, metalinkURL{m.Order, strings.ToLower(m.Country.String()), m.URLPrefix + file})
	}
	if len(doc.File.URLs) == 0 {
		return http.StatusServiceUnavailable, nil
	}
	var out bytes.Buffer
	out.WriteString(xml.Header)
	encoder := xml.NewEncoder(&out)
	encoder.Indent("", "  ")
	if err := encoder.Encode(doc); err != nil {
		return http.StatusInternalServerError, nil
	}
	out.WriteByte('\n')
	header.Set("Content-Type", "application/metalink4+xml; charset=utf-8")
	return http.StatusOK, out.Bytes()
}
