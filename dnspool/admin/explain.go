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
	Path   string // as in a request, with or without a query; "" for the topmost one
}

// An ExplainAnswer is the answer of /api/v1/explain.
type ExplainAnswer struct {
	Client   netip.Addr `json:"client"`
	Path     string     `json:"path"`
	Status   int        `json:"status"`   // of the response
	Location string     `json:"location"` // where a redirect leads now; "" if there is none
	Content  string     `json:"content"`  // what a response with status 200 is, or ""
	Problem  string     `json:"problem"`  // why it is neither, or ""
	// Network is what counts as one client, and meets the same mirror from Begins to Ends, unless the pool changes; the
	// times are null if any request may meet any mirror.
	Network netip.Prefix `json:"network"`
	Begins  *time.Time   `json:"begins"`
	Ends    *time.Time   `json:"ends"`
	// Database is the network that the geographical databases put at the place; "" if none is.
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
