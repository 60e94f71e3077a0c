package admin

import (
	"errors"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"mirrorpool/dnspool"
)

// An ExplainQuestion asks what a client would get.
type ExplainQuestion struct {
	Client netip.Addr
	Secure bool   // over https
	Path   string // as in a request, with or without a query; "" for the base path
}

// An ExplainAnswer is the response of /api/v1/explain.
type ExplainAnswer struct {
	Client   netip.Addr `json:"client"`
	Path     string     `json:"path"`
	Status   int        `json:"status"`   // of the response
	Location string     `json:"location"` // where a redirect leads now; "" if there is none
	Content  string     `json:"content"`  // the kind of content, with status 200
	Problem  string     `json:"problem"`  // why the response is neither, or ""
	// Network counts as one client, and is sent to the same mirror from Begins to Ends, unless the pool changes. The
	// times are null if each request may be sent to another one.
	Network netip.Prefix `json:"network"`
	Begins  *time.Time   `json:"begins"`
	Ends    *time.Time   `json:"ends"`
	// Database is the network for which the geographical databases have the place; "" if there is none.
	Database string `json:"database_network"`
	dnspool.Explanation
}

// explain handles GET /api/v1/explain?client=ADDRESS&secure=BOOL&path=PATH.
func explain(b Backend) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		question, err := readQuestion(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		writeJSON(w, b.Explain(question))
	}
}

func readQuestion(r *http.Request) (q ExplainQuestion, err error) {
	values := r.URL.Query()
	if q.Client, err = netip.ParseAddr(values.Get("client")); err != nil {
		return q, errors.New(`want client=ADDRESS, an IP address such as "192.0.2.1"`)
	}
	q.Client = q.Client.Unmap().WithZone("")
	if text := values.Get("secure"); text != "" {
		if q.Secure, err = strconv.ParseBool(text); err != nil {
			return q, errors.New("want secure=true or secure=false")
		}
	}
	q.Path = values.Get("path")
	return q, nil
}
