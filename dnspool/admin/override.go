package admin

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/health"
)

const (
	maxOverrideTime = 90 * 24 * time.Hour
	maxReason       = 200 // characters
	maxBy           = 64
)

// An OverrideRequest is what a person wants of a mirror: see [dnspool.Override].
type OverrideRequest struct {
	Mirror string // its url_prefix, name or host
	Kind   dnspool.OverrideKind
	Roles  []health.Role
	For    time.Duration
	Reason string
	By     string
	Anyway bool // drain it even where nothing else that is up is left
}

// An OverrideAnswer is the response of /api/v1/override.
type OverrideAnswer struct {
	OK        bool              `json:"ok"`
	Error     string            `json:"error"`     // why nothing has changed, or ""
	Warning   string            `json:"warning"`   // what is to be known of one that is in force, or ""
	Overrides dnspool.Overrides `json:"overrides"` // those that were put in force, or ended
}

// drain handles POST and DELETE of /api/v1/drain. Its parameters are in the query, or in a form.
func drain(b Backend) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxRequestBody)
		q, err := readOverride(r)
		if err != nil {
			writeJSONStatus(w, http.StatusBadRequest, OverrideAnswer{Error: err.Error()})
			return
		}
		set := b.Override
		if r.Method == http.MethodDelete {
			set = b.EndOverride
		}
		answer, status := set(q), http.StatusOK
		if !answer.OK {
			status = http.StatusConflict
		}
		writeJSONStatus(w, status, answer)
	}
}

// readOverride reads the parameters of a request. Those that end an override need no time and reason.
func readOverride(r *http.Request) (q OverrideRequest, err error) {
	if err := r.ParseForm(); err != nil {
		return q, errors.New("want a query, or a form of a few hundred bytes")
	}
	q = OverrideRequest{Mirror: r.Form.Get("mirror"), Kind: dnspool.Drain, Reason: r.Form.Get("reason"), By: r.Form.Get("by")}
	if q.Mirror == "" {
		return q, errors.New("want a mirror: its url_prefix, name or host")
	}
	if kind := r.Form.Get("kind"); kind != "" {
		if err := q.Kind.UnmarshalText([]byte(kind)); err != nil {
			return q, errors.New("want kind=drain or kind=force-up")
		}
	}
	switch r.Form.Get("role") {
	case "":
		q.Roles = []health.Role{health.HTTP, health.DNS}
	case "http":
		q.Roles = []health.Role{health.HTTP}
	case "dns":
		q.Roles = []health.Role{health.DNS}
	default:
		return q, errors.New("want role=dns or role=http; without it, both")
	}
	switch r.Form.Get("anyway") {
	case "", "false":
	case "true":
		q.Anyway = true
	default:
		return q, errors.New("want anyway=true or anyway=false")
	}
	if q.By == "" {
		q.By = "unknown"
	}
	if err := checkText("by", q.By, maxBy); err != nil || r.Method == http.MethodDelete {
		return q, err
	}
	if q.For, err = config.ParseDuration(r.Form.Get("for")); err != nil || q.For < time.Second || q.For > maxOverrideTime {
		return q, fmt.Errorf("for: want a duration from 1s to %.0fh, such as 2h", maxOverrideTime.Hours())
	}
	if strings.TrimSpace(q.Reason) == "" {
		return q, errors.New("want a reason: others will see it")
	}
	return q, checkText("reason", q.Reason, maxReason)
}

// checkText refuses a text of a person that is too long, or has other than printable characters.
func checkText(what, text string, limit int) error {
	if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Errorf("want a %s of printable characters", what)
	}
	if n := utf8.RuneCountInString(text); n > limit {
		return fmt.Errorf("want a %s of at most %d characters, got %d", what, limit, n)
	}
	return nil
}

func overridesOf(m *dnspool.Mirror) []dnspool.Override {
	overrides := []dnspool.Override{}
	for _, o := range m.Overrides {
		if o != nil {
			overrides = append(overrides, *o)
		}
	}
	return overrides
}

// drained reports whether a drain of the mirror is in force.
func (m *MirrorStatus) drained() bool {
	return slices.ContainsFunc(m.Overrides, func(o dnspool.Override) bool { return o.Kind == dnspool.Drain })
}

// OverrideTexts tell the overrides of a mirror, those that differ only in the role in one line.
func (m *MirrorStatus) OverrideTexts() (texts []string) {
	switch {
	case len(m.Overrides) == 2 && m.Overrides[0].String() == m.Overrides[1].String():
		texts = append(texts, m.Overrides[0].String())
	default:
		for i := range m.Overrides {
			o := &m.Overrides[i]
			texts = append(texts, fmt.Sprintf("for %s %s", map[health.Role]string{health.HTTP: "redirects", health.DNS: "DNS"}[o.Role], o))
		}
	}
	return texts
}
