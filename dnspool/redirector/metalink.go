package redirector

import (
	"bytes"
	"encoding/xml"
	"net/http"
	"net/url"
	"strings"

	"mirrorpool/dnspool"
)

// maxListed is how many mirrors a list or a Metalink has, at most.
const maxListed = 1000

// metalinkFile returns the path of the file whose Metalink a path asks for.
func metalinkFile(path string) (file string, ok bool) {
	for _, suffix := range [...]string{".meta4", ".metalink"} {
		if file, ok = strings.CutSuffix(path, suffix); ok {
			return file, true
		}
	}
	return "", false
}

// A metalink is a Metalink document (RFC 5854). It has neither size nor hashes: nobody here has seen the file.
type metalink struct {
	XMLName   xml.Name `xml:"urn:ietf:params:xml:ns:metalink metalink"`
	Generator string   `xml:"generator"`
	File      struct {
		Name string        `xml:"name,attr"`
		URLs []metalinkURL `xml:"url"`
	} `xml:"file"`
}

type metalinkURL struct {
	Priority int    `xml:"priority,attr"` // the least is the best
	Location string `xml:"location,attr,omitempty"`
	URL      string `xml:",chardata"`
}

// serveMetalink answers with the file at all mirrors that may serve the client, the one that is picked first.
func (h *Handler) serveMetalink(w http.ResponseWriter, r *http.Request, e dnspool.Explanation, file string) {
	name, err := url.PathUnescape(file[strings.LastIndexByte(file, '/')+1:])
	if err != nil || name == "" || strings.ContainsAny(name, `/\`) {
		fail(w, http.StatusNotFound) // a folder, or not the name of a file (RFC 5854 section 4.1.2.1)
		return
	}
	doc := metalink{Generator: "mirrorpool"}
	doc.File.Name = name
	for i := range e.Mirrors {
		m := &e.Mirrors[i]
		if m.Order == 0 || i == maxListed {
			break
		}
		doc.File.URLs = append(doc.File.URLs, metalinkURL{m.Order, strings.ToLower(m.Country.String()), m.URLPrefix + file})
	}
	if len(doc.File.URLs) == 0 {
		unavailable(w)
		return
	}
	var text bytes.Buffer
	text.WriteString(xml.Header)
	encoder := xml.NewEncoder(&text)
	encoder.Indent("", "  ")
	if err := encoder.Encode(doc); err != nil {
		fail(w, http.StatusInternalServerError)
		return
	}
	text.WriteByte('\n')
	header := w.Header()
	header.Set("Content-Type", "application/metalink4+xml; charset=utf-8")
	header["Cache-Control"] = noCache
	header.Set("X-Content-Type-Options", "nosniff")
	w.Write(text.Bytes())
}
