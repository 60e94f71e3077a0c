package redirector

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"mirrorpool/dnspool"
	"mirrorpool/health/files"
)

//go:embed mirrorlist.html
var mirrorListText string

var mirrorListTemplate = template.Must(template.New("mirrorlist").Parse(mirrorListText))

// A mirrorList is the list of mirrors for one client and path. It says where the client is, and not its address.
type mirrorList struct {
	Path     string         `json:"path"`
	Title    string         `json:"-"`        // the path for people
	Location string         `json:"location"` // where a redirect would lead; "" if nowhere
	Host     string         `json:"-"`
	Where    string         `json:"-"`
	Place    *dnspool.Place `json:"place"`    // of the client; null if it is not known
	Geo      bool           `json:"geo"`      // places matter for the choice
	Complete int            `json:"complete"` // mirrors that are known to have the file
	Mirrors  []listedMirror `json:"mirrors"`
	More     int            `json:"more"` // mirrors that are not listed
	Metalink string         `json:"-"`    // "" of a folder, or where none are made
}

type listedMirror struct {
	URL string `json:"url"` // of the file; "" if the mirror does not serve the client
	dnspool.Explained
	files.Copy // of the file; its state is empty where nothing is known of it
}

// file says in words whether the mirror has the file, or nothing.
func (m *listedMirror) file() string {
	switch {
	case m.Copy.State == "":
		return ""
	case m.Since.IsZero():
		return "; file: " + m.Copy.State
	}
	return "; file: " + m.Copy.State + ", seen " + m.Since.UTC().Format("2006-01-02 15:04:05")
}

// Rows returns the table's rows. A template would take ten times as long for a thousand.
func (l *mirrorList) Rows() template.HTML {
	text := make([]byte, 0, l.size())
	for i := range l.Mirrors {
		text = l.appendRow(text, &l.Mirrors[i])
	}
	return template.HTML(text)
}

// size estimates how many bytes the rows, or the list as JSON, take at most.
func (l *mirrorList) size() int {
	const mirror = 600
	n := 0
	for i := range l.Mirrors {
		n += mirror + len(l.Mirrors[i].URL)
	}
	return n
}

func (l *mirrorList) appendRow(text []byte, m *listedMirror) []byte {
	class, order, share := "off", "", ""
	if m.Order > 0 {
		class, order, share = "", strconv.Itoa(m.Order), percent(m.Share)
	}
	if m.Order == 1 {
		class = "picked"
	}
	state, prefix := m.Explained.State.String(), breakable(m.URLPrefix)
	text = append(append(append(text, "<tr class=\""...), class...), "\">\n<td class=\"n\">"...)
	text = append(append(text, order...), "</td>\n<td class=\"mirror\">"...)
	if m.URL != "" {
		text = append(append(append(text, "<a href=\""...), html.EscapeString(m.URL)...), "\">"...)
		text = append(append(text, prefix...), "</a>"...)
	} else {
		text = append(text, prefix...)
	}
	text = append(append(append(text, "</td>\n<td>"...), m.Country.String()...), "</td>\n"...)
	if l.Geo {
		text = append(text, "<td class=\"n\">"...)
		if m.Distance >= 0 {
			text = append(strconv.AppendFloat(text, m.Distance, 'f', 0, 64), " km"...)
		}
		text = append(text, "</td>\n"...)
	}
	text = append(append(append(text, "<td class=\""...), state...), "\">"...)
	text = append(append(text, state...), "</td>\n<td class=\"n\" data-label=\"share\">"...)
	text = append(append(text, share...), "</td>\n<td class=\"why\">"...)
	return append(append(text, html.EscapeString(m.Why+m.file())...), "</td>\n</tr>\n"...)
}

// breakable returns a URL in HTML that lines may be broken in, at its slashes.
func breakable(url string) string {
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok {
		return html.EscapeString(url)
	}
	rest = html.EscapeString(strings.TrimSuffix(rest, "/"))
	return html.EscapeString(scheme) + "://" + strings.ReplaceAll(rest, "/", "/<wbr>") + "/"
}

// percent formats a share for people.
func percent(share float64) string {
	switch share *= 100; {
	case share == 0:
		return "0 %"
	case share < 0.1:
		return "&lt; 0.1 %"
	default:
		return strconv.FormatFloat(share, 'f', 1, 64) + " %"
	}
}

func newMirrorList(e *dnspool.Explanation, copies map[string]files.Copy, path, query string, metalinks bool) *mirrorList {
	l := &mirrorList{
		Path: "/" + path, Where: whereIs(e), Geo: e.Geo, Mirrors: []listedMirror{},
	}
	l.Title = l.Path
	if plain, err := url.PathUnescape(l.Path); err == nil && utf8.ValidString(plain) {
		l.Title = plain
	}
	if name := path[strings.LastIndexByte(path, '/')+1:]; name != "" && metalinks {
		l.Metalink = "./" + name + ".meta4"
	}
	if e.Place.Known() || e.Place.ASN != 0 {
		l.Place = &e.Place
	}
	for _, c := range copies {
		if c.State == files.CopyHas {
			l.Complete++
		}
	}
	for i, m := range e.Mirrors {
		if i == maxOnPage(path, query) {
			l.More = len(e.Mirrors) - i
			break
		}
		listed := listedMirror{Explained: m, Copy: copies[m.URLPrefix]}
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

// whereIs says where the client is.
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
		return "Your location is unknown, so distance does not count."
	}
	text := "You seem to be here: " + strings.Join(parts, ", ") + "."
	if !e.Geo {
		text += " Mirrors are not chosen by that."
	}
	return text
}

var continents = map[string]string{
	"AF": "Africa", "AN": "Antarctica", "AS": "Asia", "EU": "Europe",
	"NA": "North America", "OC": "Oceania", "SA": "South America",
}

// mirrorListPage returns all mirrors of a path: as a page, or as JSON or plain lines if the client prefers that.
func mirrorListPage(
	header, asked http.Header, e dnspool.Explanation, copies map[string]files.Copy, path, query string, metalinks bool,
) (status int, text []byte) {
	list := newMirrorList(&e, copies, path, query, metalinks)
	var out bytes.Buffer
	out.Grow(list.size())
	var err error
	header.Set("Vary", "Accept")
	switch preferredType(asked.Values("Accept")) {
	case typeJSON:
		header.Set("Content-Type", typeJSON)
		encoder := json.NewEncoder(&out)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(list)
	case typePlain:
		header.Set("Content-Type", typePlain+"; charset=utf-8")
		for i := range list.Mirrors {
			if url := list.Mirrors[i].URL; url != "" {
				out.WriteString(url + "\n")
			}
		}
	default:
		header.Set("Content-Type", typeHTML+"; charset=utf-8")
		header.Set("Content-Security-Policy",
			"default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; frame-ancestors 'none'")
		header.Set("Referrer-Policy", "no-referrer")
		err = mirrorListTemplate.Execute(&out, list)
	}
	if err != nil {
		return http.StatusInternalServerError, nil
	}
	if list.Location == "" {
		header.Set("Retry-After", retryAfter)
		return http.StatusServiceUnavailable, out.Bytes()
	}
	return http.StatusOK, out.Bytes()
}

// Types of a list of mirrors.
const (
	typeHTML  = "text/html"
	typeJSON  = "application/json"
	typePlain = "text/plain"
)

// preferredType returns the type that Accept headers rank first (RFC 9110 section 12.5.1): HTML, unless another one is
// named and ranked above it. "text/*" alone, as apt sends it, is plain text.
func preferredType(accept []string) string {
	ranks := map[string]float64{}
	for element := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		name, params, _ := strings.Cut(element, ";")
		q := 1.0
		for param := range strings.SplitSeq(params, ";") {
			key, value, _ := strings.Cut(strings.TrimSpace(param), "=")
			if n, err := strconv.ParseFloat(value, 64); err == nil && strings.EqualFold(key, "q") {
				q = n
			}
		}
		name = strings.ToLower(strings.TrimSpace(name))
		if name == "text/*" {
			name = typePlain
		}
		ranks[name] = max(ranks[name], q)
	}
	best := typeHTML
	for _, other := range [...]string{typeJSON, typePlain} {
		if ranks[other] > ranks[best] {
			best = other
		}
	}
	return best
}
