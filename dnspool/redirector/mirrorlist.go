package redirector

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"mirrorpool/dnspool"
)

//go:embed mirrorlist.html
var mirrorListText string

var mirrorListPage = template.Must(template.New("mirrorlist").Parse(mirrorListText))

// A mirrorList is the list of mirrors for one client and path. It does not say who the client is, only where.
type mirrorList struct {
	Path     string         `json:"path"`
	Title    string         `json:"-"`        // the path for people
	Location string         `json:"location"` // where a redirect would lead; "" if nowhere
	Host     string         `json:"-"`
	Where    string         `json:"-"`
	Place    *dnspool.Place `json:"place"` // of the client; null if it is not known
	Geo      bool           `json:"geo"`   // places count
	Mirrors  []listedMirror `json:"mirrors"`
	More     int            `json:"more"` // mirrors that are not listed
	Metalink string         `json:"-"`    // "" of a folder
}

type listedMirror struct {
	URL string `json:"url"` // of the file; "" if the mirror does not serve the client
	dnspool.Explained
}

// Percent is the mirror's share for people.
func (m listedMirror) Percent() string {
	switch share := 100 * m.Share; {
	case share == 0:
		return "0 %"
	case share < 0.1:
		return "< 0.1 %"
	default:
		return strconv.FormatFloat(share, 'f', 1, 64) + " %"
	}
}

func newMirrorList(e *dnspool.Explanation, path, query string) *mirrorList {
	l := &mirrorList{
		Path: "/" + path, Where: whereIs(e), Geo: e.Geo, Mirrors: []listedMirror{},
	}
	l.Title = l.Path
	if plain, err := url.PathUnescape(l.Path); err == nil && utf8.ValidString(plain) {
		l.Title = plain
	}
	if name := path[strings.LastIndexByte(path, '/')+1:]; name != "" {
		l.Metalink = "./" + name + ".meta4"
	}
	if e.Place.Known() || e.Place.ASN != 0 {
		l.Place = &e.Place
	}
	for i, m := range e.Mirrors {
		if i == maxListed {
			l.More = len(e.Mirrors) - i
			break
		}
		listed := listedMirror{Explained: m}
		if m.Order > 0 {
			listed.URL = m.URLPrefix + path + query
		}
		if m.Order == 1 {
			l.Location, l.Host = listed.URL, m.Mirror.URL.Hostname()
		}
		l.Mirrors = append(l.Mirrors, listed)
	}
	return l
}

// whereIs says where the client is, for people.
func whereIs(e *dnspool.Explanation) string {
	var parts []string
	if c := e.Place.Country.String(); c != "" {
		parts = append(parts, "country "+c)
	}
	if name := continents[e.Place.Continent.String()]; name != "" {
		parts = append(parts, name)
	}
	if e.Place.ASN != 0 {
		parts = append(parts, fmt.Sprintf("network AS%d", e.Place.ASN))
	}
	if len(parts) == 0 {
		return "Where you are is not known, so that no mirror is nearer than another."
	}
	text := "You seem to be here: " + strings.Join(parts, ", ") + "."
	if !e.Geo {
		text += " Mirrors are not chosen by that."
	}
	return text
}

var continents = map[string]string{
	"AF": "Africa", "AN": "Antarctica", "AS": "Asia", "EU": "Europe", "NA": "North America", "OC": "Oceania", "SA": "South America",
}

// serveMirrorList answers with all mirrors of a path: with a page for people, or with JSON if that is preferred.
func (h *Handler) serveMirrorList(w http.ResponseWriter, r *http.Request, e dnspool.Explanation, path, query string) {
	list := newMirrorList(&e, path, query)
	var text bytes.Buffer
	var err error
	header := w.Header()
	header["Cache-Control"] = noCache
	header.Set("Vary", "Accept")
	header.Set("X-Content-Type-Options", "nosniff")
	if prefersJSON(r.Header.Values("Accept")) {
		header.Set("Content-Type", "application/json")
		encoder := json.NewEncoder(&text)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(list)
	} else {
		header.Set("Content-Type", "text/html; charset=utf-8")
		header.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; frame-ancestors 'none'")
		header.Set("Referrer-Policy", "no-referrer")
		err = mirrorListPage.Execute(&text, list)
	}
	if err != nil {
		fail(w, http.StatusInternalServerError)
		return
	}
	if list.Location == "" {
		header.Set("Retry-After", retryAfter)
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	w.Write(text.Bytes())
}

// prefersJSON reports whether Accept headers rank JSON above HTML (RFC 9110 section 12.5.1). Who says nothing is a person.
func prefersJSON(accept []string) bool {
	var json, html float64
	for element := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		name, params, _ := strings.Cut(element, ";")
		q := 1.0
		for param := range strings.SplitSeq(params, ";") {
			key, value, _ := strings.Cut(strings.TrimSpace(param), "=")
			if n, err := strconv.ParseFloat(value, 64); err == nil && strings.EqualFold(key, "q") {
				q = n
			}
		}
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "application/json":
			json = max(json, q)
		case "text/html":
			html = max(html, q)
		}
	}
	return json > html
}
