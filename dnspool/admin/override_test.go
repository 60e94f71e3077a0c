package admin

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"mirrorpool/dnspool"
	"mirrorpool/health"
)

func TestReadOverride(t *testing.T) {
	t.Parallel()
	good := "mirror=m1&for=2h&reason=disk+swap&by=ann"
	for query, want := range map[string]string{
		good:                             "",
		good + "&role=http&anyway=true":  "",
		good + "&kind=force-up":          "",
		"for=2h&reason=x":                "want a mirror",
		"mirror=m1&reason=x":             "want a duration from 1s to 2160h",
		"mirror=m1&for=-1h&reason=x":     "want a duration",
		"mirror=m1&for=2160h1s&reason=x": "want a duration",
		"mirror=m1&for=999ms&reason=x":   "want a duration",
		"mirror=m1&for=2h&reason=+":      "want a reason",
		"mirror=m1&for=2h&reason=a%0ab":  "want a reason of printable characters",
		"mirror=m1&for=2h&reason=a%ff":   "want a reason of printable characters",
		"mirror=m1&for=2h&reason=" + strings.Repeat("%c3%a9", maxReason):   "",
		"mirror=m1&for=2h&reason=" + strings.Repeat("%c3%a9", maxReason+1): "want a reason of at most 200 characters, got 201",
		good + "&by=":               "",
		"by=a%07&" + good:           "want a by of printable characters",
		good + "&role=rsync":        "want role=dns or role=http",
		good + "&kind=down":         "want kind=drain or kind=force-up",
		good + "&anyway=perhaps":    "want anyway=true or anyway=false",
		"mirror=m1&for=2h&reason=%": "want a query",
	} {
		q, err := readOverride(httptest.NewRequest(http.MethodPost, "/api/v1/drain?"+query, nil))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", query, err, want)
		}
		if strings.HasPrefix(query, good) && err == nil && (q.Mirror != "m1" || q.For != 2*time.Hour || q.Reason != "disk swap" || q.By != "ann") {
			t.Errorf("%s: %+v", query, q)
		}
	}
	q, err := readOverride(httptest.NewRequest(http.MethodDelete, "/api/v1/drain?mirror=m1&role=dns", nil))
	if err != nil || len(q.Roles) != 1 || q.Roles[0] != health.DNS {
		t.Errorf("to end one: %+v, %v", q, err)
	}
}

// TestDrainEndpoint sends requests in a form, and sees them refused without the token.
func TestDrainEndpoint(t *testing.T) {
	t.Parallel()
	var set, ended []OverrideRequest
	b := Backend{
		Override: func(q OverrideRequest) OverrideAnswer {
			set = append(set, q)
			return OverrideAnswer{OK: q.Mirror == "m1", Overrides: dnspool.Overrides{}}
		},
		EndOverride: func(q OverrideRequest) OverrideAnswer { ended = append(ended, q); return OverrideAnswer{OK: true} },
	}
	const token = "a token of some length"
	mux := newGuard(newMux(b), []byte(token), "127.0.0.1:8053")
	ask := func(method, token string, form url.Values) (int, OverrideAnswer) {
		r := httptest.NewRequest(method, "http://127.0.0.1:8053/api/v1/drain", strings.NewReader(form.Encode()))
		if method == http.MethodDelete {
			r = httptest.NewRequest(method, "http://127.0.0.1:8053/api/v1/drain?"+form.Encode(), nil)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.RemoteAddr = "127.0.0.1:9"
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		var answer OverrideAnswer
		_ = json.Unmarshal(w.Body.Bytes(), &answer) // what is no JSON has no error in it either
		return w.Code, answer
	}
	form := url.Values{"mirror": {"m1"}, "for": {"1h"}, "reason": {"r"}}
	if code, _ := ask(http.MethodPost, "", form); code != http.StatusUnauthorized || len(set) > 0 {
		t.Errorf("without the token: %d, %v", code, set)
	}
	if code, answer := ask(http.MethodPost, token, form); code != http.StatusOK || !answer.OK || len(set) != 1 || len(set[0].Roles) != 2 {
		t.Errorf("%d, %+v, %v", code, answer, set)
	}
	if code, _ := ask(http.MethodPost, token, url.Values{"mirror": {"m2"}, "for": {"1h"}, "reason": {"r"}}); code != http.StatusConflict {
		t.Errorf("one that is refused: %d", code)
	}
	if code, answer := ask(http.MethodPost, token, url.Values{"mirror": {"m1"}}); code != http.StatusBadRequest || answer.Error == "" {
		t.Errorf("one without a time: %d, %+v", code, answer)
	}
	if code, _ := ask(http.MethodDelete, token, url.Values{"mirror": {"m1"}}); code != http.StatusOK || len(ended) != 1 {
		t.Errorf("to end it: %d, %v", code, ended)
	}
	if code, _ := ask(http.MethodPost, token, url.Values{"mirror": {strings.Repeat("m", maxRequestBody)}}); code != http.StatusBadRequest {
		t.Errorf("a large form: %d", code)
	}
}

func TestOverrideTexts(t *testing.T) {
	t.Parallel()
	dns := dnspool.Override{Role: health.DNS, Kind: dnspool.Drain, By: "ann", Reason: "r", Since: time.Unix(1_800_000_000-3600, 0), Until: time.Unix(1_800_000_000, 0)}
	http := dns
	http.Role = health.HTTP
	later := dns
	later.Until = later.Until.Add(time.Hour)
	for _, test := range []struct {
		overrides []dnspool.Override
		want      string
	}{
		{nil, ""},
		{[]dnspool.Override{http, dns}, "drained from 2027-01-15 07:00:00 until 2027-01-15 08:00:00 UTC by ann: r"},
		{[]dnspool.Override{dns}, "for DNS drained from 2027-01-15 07:00:00 until 2027-01-15 08:00:00 UTC by ann: r"},
		{[]dnspool.Override{http, later}, "for redirects drained from 2027-01-15 07:00:00 until 2027-01-15 08:00:00 UTC by ann: r|" +
			"for DNS drained from 2027-01-15 07:00:00 until 2027-01-15 09:00:00 UTC by ann: r"},
	} {
		m := MirrorStatus{Overrides: test.overrides}
		if got := strings.Join(m.OverrideTexts(), "|"); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
	drained := MirrorStatus{Weight: 1, State: health.Up, Overrides: []dnspool.Override{dns}}
	if c := conditionOf(&drained); c != isDrained {
		t.Errorf("it is %s", c.name())
	}
	drained.Eligible = []string{"http"}
	if c := conditionOf(&drained); c == isDrained {
		t.Error("drained in one role, it counts as drained")
	}
}
