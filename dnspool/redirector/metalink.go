package redirector

import (
	"bytes"
	"encoding/xml"
	"net/http"
	"net/url"
	"strings"

	"mirrorpool/dnspool"
)

// metalinkFile returns the path of the file whose Metalink a path asks for.
func metalinkFile(path string) (file string, ok bool) {
	for _, suffix := range [...]string{".meta4", ".metalink"} {
		if file, ok = strings.CutSuffix(path, suffix); ok {
			return file, true
		}
	}
	return "", false
}

// fileName returns the name of the file at a path, as a client may store it (RFC 5854 section 4.1.2.1). ok is false for a
// folder, and for a name that leads out of one.
func fileName(path string) (name string, ok bool) {
	if _, err := cleanPath("/"+path, "/"); err != nil {
		return "", false // with what was behind the name, it was not "..", for example
	}
	name, err := url.PathUnescape(path[strings.LastIndexByte(path, '/')+1:])
	return name, err == nil && name != "" && name != "." && !strings.ContainsAny(name, `/\`)
}

// A metalink is a Metalink document (RFC 5854). It has neither size nor hashes: nothing here has seen the file.
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

// metalinkPage returns a page with the file at all mirrors that may serve the client, the one that is picked first.
func metalinkPage(header http.Header, e dnspool.Explanation, file string) (status int, text []byte) {
	name, ok := fileName(file)
	if !ok {
		return http.StatusNotFound, nil
	}
	doc := metalink{Generator: "mirrorpool"}
	doc.File.Name = name
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
