package redirector

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"html/template"
	"net/http"
	"time"

	"mirrorpool/dnspool"
)

//go:embed publicstats.html
var publicStatsText string

var publicStatsTemplate = template.Must(template.New("publicstats").Funcs(publicStatsFuncs).Parse(publicStatsText))

// A PublicMirror is what the public may know of a mirror.
type PublicMirror struct {
	URLPrefix string       `json:"url_prefix"`
	Country   dnspool.Code `json:"country"`  // or ""
	Share     float64      `json:"share"`    // of all redirects since the start, 0 to 1
	Expected  float64      `json:"expected"` // the same, by weight alone
	Release   *time.Time   `json:"release"`  // the trace of the release that it carries in full; null if that is not known
	Uptime30  float64      `json:"uptime_30d"`
	Uptime180 float64      `json:"uptime_180d"`
}

// publicStatsFuncs are how the template writes shares and times.
var publicStatsFuncs = template.FuncMap{ // must not be changed
	"percent": func(share float64) template.HTML { return template.HTML(percent(share)) },
	"moment": func(t *time.Time) string {
		if t == nil {
			return "not known"
		}
		return t.UTC().Format("2006-01-02 15:04 MST")
	},
}

// publicStatsPage returns numbers of the mirrors: as a page, or as JSON if the client prefers that.
func publicStatsPage(header, asked http.Header, mirrors []PublicMirror) (status int, text []byte) {
	more := max(len(mirrors)-maxListed, 0)
	mirrors = mirrors[:len(mirrors)-more]
	var out bytes.Buffer
	var err error
	header.Set("Vary", "Accept")
	if preferredType(asked.Values("Accept")) == typeJSON {
		header.Set("Content-Type", typeJSON)
		encoder := json.NewEncoder(&out)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(struct {
			Mirrors []PublicMirror `json:"mirrors"`
			More    int            `json:"more"`
		}{mirrors, more})
	} else {
		header.Set("Content-Type", typeHTML+"; charset=utf-8")
		header.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; frame-ancestors 'none'")
		header.Set("Referrer-Policy", "no-referrer")
		err = publicStatsTemplate.Execute(&out, struct {
			Mirrors []PublicMirror
			More    int
		}{mirrors, more})
	}
	if err != nil {
		return http.StatusInternalServerError, nil
	}
	return http.StatusOK, out.Bytes()
}
