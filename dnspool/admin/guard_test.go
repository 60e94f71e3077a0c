package admin

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mirrorpool/config"
)

func TestGuard(t *testing.T) {
	t.Parallel()
	const token = "0123456789abcdef"
	tests := map[string]struct {
		peer, path, authorization string
		token                     string
		method, listen            string // GET, and an address
		want                      int
	}{
		"this host":                 {peer: "127.0.0.1:1", path: "/api/v1/status", want: 200},
		"this host over IPv6":       {peer: "[::1]:1", path: "/api/v1/status", want: 200},
		"another host":              {peer: "192.0.2.1:1", path: "/api/v1/status", want: 401},
		"another host, empty token": {peer: "192.0.2.1:1", path: "/api/v1/status", authorization: "Bearer ", want: 401},
		"another host, with the token": {peer: "192.0.2.1:1", path: "/api/v1/status", authorization: "Bearer " + token,
			token: token, want: 200},
		"another host, in lower case": {peer: "192.0.2.1:1", path: "/api/v1/status", authorization: "bearer " + token,
			token: token, want: 200},
		"another host, in upper case": {peer: "192.0.2.1:1", path: "/api/v1/status", authorization: "BEARER   " + token,
			token: token, want: 200},
		"another host, a bare token": {peer: "192.0.2.1:1", path: "/api/v1/status", authorization: token, token: token, want: 401},
		"another host, another scheme": {peer: "192.0.2.1:1", path: "/api/v1/status", authorization: "Basic " + token,
			token: token, want: 401},
		"another host, no space": {peer: "192.0.2.1:1", path: "/api/v1/status", authorization: "Bearer" + token,
			token: token, want: 401},
		"another host, a wrong token": {peer: "192.0.2.1:1", path: "/api/v1/status", authorization: "Bearer " + token + "x",
			token: token, want: 401},
		"another host, no token at all":   {peer: "192.0.2.1:1", path: "/api/v1/status", token: token, want: 401},
		"reload from this host":           {peer: "127.0.0.1:1", path: "/api/v1/reload", method: "POST", want: 200},
		"the same where there is a token": {peer: "127.0.0.1:1", path: "/api/v1/reload", method: "POST", token: token, want: 401},
		"the same with it": {peer: "127.0.0.1:1", path: "/api/v1/reload", method: "POST", authorization: "Bearer " +
			token, token: token, want: 200},
		"status where there is a token": {peer: "127.0.0.1:1", path: "/api/v1/status", token: token, want: 200},
		"reload over a Unix socket": {peer: "@", path: "/api/v1/reload", method: "POST", token: token,
			listen: "unix:/run/admin.sock", want: 200},
		"health is no secret":    {peer: "192.0.2.1:1", path: "/healthz", token: token, want: 200},
		"readiness is no secret": {peer: "192.0.2.1:1", path: "/readyz", token: token, want: 200},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newGuard(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), []byte(test.token),
				cmp.Or(test.listen, "127.0.0.1:8053"))
			r := httptest.NewRequest(cmp.Or(test.method, "GET"), test.path, nil)
			r.Host = "127.0.0.1:8053"
			r.RemoteAddr = test.peer
			r.Header.Set("Authorization", test.authorization)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != test.want {
				t.Errorf("%d, want %d", w.Code, test.want)
			}
		})
	}
}

func TestReadToken(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if token, err := ReadToken(write("good", "  0123456789abcdef\n")); err != nil || string(token) != "0123456789abcdef" {
		t.Errorf("%q, %v; want the token without white space", token, err)
	}
	if token, err := ReadToken(""); err != nil || token != nil {
		t.Errorf("%q, %v; want none", token, err)
	}
	for name, path := range map[string]string{
		"empty": write("empty", ""), "short": write("short", "12345\n"), "missing": filepath.Join(dir, "missing"),
	} {
		_, err := ReadToken(path)
		if err == nil {
			t.Errorf("%s: no error", name)
		} else if strings.Contains(err.Error(), "12345") {
			t.Errorf("%s: the error tells the token: %v", name, err)
		}
	}
}

func TestReadyz(t *testing.T) {
	t.Parallel()
	for want, problem := range map[int]error{200: nil, 503: errors.New("checks are overdue")} {
		w := httptest.NewRecorder()
		newMux(Backend{Ready: func() error { return problem }}).ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
		if w.Code != want {
			t.Errorf("%v: %d, want %d", problem, w.Code, want)
		}
	}
}

// TestIdleConnections holds more connections than there may be: that locks out neither a client that comes later, nor
// one whose request is being answered.
func TestIdleConnections(t *testing.T) {
	t.Parallel()
	begun, goOn := make(chan struct{}), make(chan struct{})
	s, err := Listen(t.Context(), nil, config.Admin{Listen: "127.0.0.1:0"}, Backend{
		Ready: func() error { return nil }, Status: func() Status { return Status{} },
		Reload: func(context.Context, ReloadOptions) ReloadAnswer {
			close(begun)
			<-goOn
			return ReloadAnswer{OK: true}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	url := "http://" + s.Addr().String()
	reloaded := make(chan error, 1)
	go func() {
		resp, err := http.Post(url+"/api/v1/reload", "", nil)
		if err == nil {
			resp.Body.Close()
		}
		reloaded <- err
	}()
	<-begun
	for range maxConnections + 64 {
		conn, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url + "/healthz")
	if err != nil {
		t.Fatalf("beside idle connections: %v", err)
	}
	resp.Body.Close()
	close(goOn)
	if err := <-reloaded; err != nil {
		t.Errorf("the reload under way: %v", err)
	}
	cancel()
	http.DefaultClient.CloseIdleConnections()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
