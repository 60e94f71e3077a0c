package admin

import (
	"encoding/json"
	"net/http/httptest"
	"net/netip"
	"testing"

	"mirrorpool/dnspool"
)

func TestExplain(t *testing.T) {
	t.Parallel()
	var asked []ExplainQuestion
	mux := newMux(Backend{Explain: func(q ExplainQuestion) ExplainAnswer {
		asked = append(asked, q)
		return ExplainAnswer{Client: q.Client, Path: q.Path, Network: dnspool.ClientNetwork(q.Client),
			Location: "http://m1.example.org/x",
			Explanation: dnspool.Explanation{Place: dnspool.Place{Country: dnspool.ParseCode("DE")},
				Mirrors: []dnspool.Explained{{URLPrefix: "http://m1.example.org/", Order: 1, Why: "picked"}}}}
	}})
	get := func(query string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest("GET", "/api/v1/explain?"+query, nil))
		return w
	}
	w := get("client=::ffff:192.0.2.1&secure=true&path=/x%3fa")
	var answer map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != 200 {
		t.Fatalf("%d, %v: %s", w.Code, err, w.Body)
	}
	if want := (ExplainQuestion{netip.MustParseAddr("192.0.2.1"), true, "/x?a"}); len(asked) != 1 || asked[0] != want {
		t.Errorf("asked %+v, want %+v", asked, want)
	}
	mirror := answer["mirrors"].([]any)[0].(map[string]any)
	for what, ok := range map[string]bool{
		"client": answer["client"] == "192.0.2.1", "network": answer["network"] == "192.0.2.0/24",
		"location": answer["location"] == "http://m1.example.org/x", "begins": answer["begins"] == nil,
		"country": answer["place"].(map[string]any)["country"] == "DE", "order": mirror["order"] == 1.0,
		"why": mirror["why"] == "picked",
	} {
		if !ok {
			t.Errorf("%s is wrong in %s", what, w.Body)
		}
	}
	for _, query := range []string{"", "client=", "client=x", "client=192.0.2.1/24", "client=192.0.2.1&secure=maybe"} {
		if w := get(query); w.Code != 400 {
			t.Errorf("%q: %d, want 400", query, w.Code)
		}
	}
	if len(asked) != 1 {
		t.Errorf("bad questions get through: %+v", asked[1:])
	}
	none := httptest.NewRecorder()
	newMux(Backend{}).ServeHTTP(none, httptest.NewRequest("GET", "/api/v1/explain?client=192.0.2.1", nil))
	if none.Code != 404 {
		t.Errorf("without a redirector: %d, want 404", none.Code)
	}
}
