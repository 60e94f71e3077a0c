package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"mirrorpool/config"
)

// TestOwnHost: what a page in the administrator's browser could send is refused, under whatever name.
func TestOwnHost(t *testing.T) {
	t.Parallel()
	const token = "0123456789abcdef"
	for _, tt := range []struct {
		name, host string
		header     map[string]string
		want       int
	}{
		{"an address", "127.0.0.1:8053", nil, 200},
		{"IPv6", "[::1]:8053", nil, 200},
		{"no port", "127.0.0.1", nil, 200},
		{"localhost", "LocalHost.:8053", nil, 200},
		{"the listener's name", "admin.example.org:8053", nil, 200},
		{"a rebound name", "evil.example:8053", nil, 403},
		{"a rebound name, same origin", "evil.example:8053", map[string]string{"Origin": "http://evil.example:8053",
			"Sec-Fetch-Site": "same-origin"}, 403},
		{"a name that begins with an address", "127.0.0.1.evil.example", nil, 403},
		{"no host", "", nil, 403},
		{"any name with the token", "proxy.example.org", map[string]string{"Authorization": "Bearer " + token}, 200},
		{"another site's page", "127.0.0.1:8053", map[string]string{"Origin": "http://evil.example"}, 403},
		{"another port's page", "127.0.0.1:8053", map[string]string{"Origin": "http://127.0.0.1:80"}, 403},
		{"a file's page", "127.0.0.1:8053", map[string]string{"Origin": "null"}, 403},
		{"another site's form", "127.0.0.1:8053", map[string]string{"Sec-Fetch-Site": "cross-site"}, 403},
		{"our own page", "127.0.0.1:8053", map[string]string{"Origin": "http://127.0.0.1:8053", "Sec-Fetch-Site": "same-origin"}, 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			reloads := 0
			b := Backend{Reload: func(context.Context, ReloadOptions) ReloadAnswer { reloads++; return ReloadAnswer{OK: true} }}
			r := httptest.NewRequest("POST", "/api/v1/reload", nil)
			r.Host, r.RemoteAddr = tt.host, "127.0.0.1:1"
			for key, value := range tt.header {
				r.Header.Set(key, value)
			}
			w := httptest.NewRecorder()
			var wanted []byte
			if tt.header["Authorization"] != "" {
				wanted = []byte(token)
			}
			newGuard(newMux(b), wanted, "admin.example.org:8053").ServeHTTP(w, r)
			if w.Code != tt.want || (reloads > 0) != (w.Code == 200) {
				t.Errorf("%d with %d reloads, want %d", w.Code, reloads, tt.want)
			}
		})
	}
}

func TestReload(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, method, query, body string
		ok                        bool
		want                      int
		confirm                   bool
	}{
		{name: "plain", method: "POST", ok: true, want: 200},
		{name: "refused", method: "POST", want: 409},
		{name: "confirmed in the query", method: "POST", query: "?confirm=true", ok: true, want: 200, confirm: true},
		{name: "confirmed in the body", method: "POST", body: `{"confirm": true}`, ok: true, want: 200, confirm: true},
		{name: "not confirmed", method: "POST", query: "?confirm=false", body: `{}`, ok: true, want: 200},
		{name: "a bad query", method: "POST", query: "?confirm=yes", ok: true, want: 400},
		{name: "a bad body", method: "POST", body: `{"confirm": 1}`, ok: true, want: 400},
		{name: "an unknown key", method: "POST", body: `{"confirmed": true}`, ok: true, want: 400},
		{name: "a huge body", method: "POST", body: `{"x": "` + strings.Repeat("a", 1<<16) + `"}`, ok: true, want: 400},
		{name: "GET", method: "GET", ok: true, want: 405},
		{name: "PUT", method: "PUT", ok: true, want: 405},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			calls, confirmed := 0, false
			answer := ReloadAnswer{OK: tt.ok, Pool: PoolReload{Held: &config.Decision{Lost: 3}, Warnings: []string{}}}
			b := Backend{Reload: func(_ context.Context, o ReloadOptions) ReloadAnswer { calls++; confirmed = o.Confirm; return answer }}
			w := httptest.NewRecorder()
			newMux(b).ServeHTTP(w, httptest.NewRequest(tt.method, "/api/v1/reload"+tt.query, strings.NewReader(tt.body)))
			if w.Code != tt.want || confirmed != tt.confirm || (calls > 0) != (tt.want == 200 || tt.want == 409) {
				t.Fatalf("%d, confirmed %v, %d calls: %s", w.Code, confirmed, calls, w.Body)
			}
			if calls == 0 {
				return
			}
			var got ReloadAnswer
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Pool.Held.Lost != 3 {
				t.Errorf("%v: %s", err, w.Body)
			}
		})
	}
	w := httptest.NewRecorder()
	newMux(Backend{}).ServeHTTP(w, httptest.NewRequest("POST", "/api/v1/reload", nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("with nothing to reload: %d, want 404", w.Code)
	}
}
