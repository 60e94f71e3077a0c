package systest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"

	"mirrorpool/testdata/testbed"
)

// A mirrorOperator tries to get a certificate. Its web server answers HTTP-01 challenges for whatever name.
type mirrorOperator struct {
	mu    sync.Mutex
	paths map[string]string
}

// Present puts the answer to a challenge on the mirror.
func (o *mirrorOperator) Present(_ context.Context, c acme.Challenge) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.paths[c.HTTP01ResourcePath()] = c.KeyAuthorization
	return nil
}

// CleanUp does nothing.
func (o *mirrorOperator) CleanUp(context.Context, acme.Challenge) error { return nil }

func (o *mirrorOperator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if text, ok := o.paths[r.URL.Path]; ok {
		io.WriteString(w, text)
		return
	}
	http.NotFound(w, r)
}

// order orders a certificate for a name.
func (o *mirrorOperator) order(ctx context.Context, directory string, client *http.Client, name string) error {
	accountKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	c := acmez.Client{Client: &acme.Client{Directory: directory, HTTPClient: client},
		ChallengeSolvers: map[string]acmez.Solver{acme.ChallengeTypeHTTP01: o}}
	account, err := c.NewAccount(ctx, acme.Account{TermsOfServiceAgreed: true, PrivateKey: accountKey})
	if err != nil {
		return err
	}
	_, err = c.ObtainCertificateForSANs(ctx, account, key, []string{name})
	return err
}

// TestMirrorGetsNoCertificate: the operator of a mirror, to which all requests are redirected, cannot get a certificate
// for the redirector's name. For the mirror's own name it can, which shows that the attack would work.
func TestMirrorGetsNoCertificate(t *testing.T) {
	t.Parallel()
	operator := &mirrorOperator{paths: map[string]string{}}
	port := testbed.FreePort(t, "127.0.0.1", "127.0.0.2")
	mirror := &http.Server{Handler: operator}
	l, err := net.Listen("tcp", "127.0.0.2:"+port)
	if err != nil {
		t.Fatal(err)
	}
	go mirror.Serve(l)
	t.Cleanup(func() { mirror.Close() })
	pebble, _ := testbed.StartPebble(t, testbed.PebbleOptions{
		Resolver: testbed.StartNames(t, map[string]string{"download.example.net": "127.0.0.1", "mirror.example.net": "127.0.0.2"}, nil),
		HTTPPort: port, TLSPort: "9",
	})
	c, where := newServerConfig(t)
	where.web = "127.0.0.1:" + port
	c.set("http", "listen", []string{where.web})
	c.set("health", "enabled", false)
	p := c.serve(t, where, map[string]any{"version": 1, "mirrors": []any{
		map[string]any{"url_prefix": "http://127.0.0.2:" + port + "/", "weight": 1}}})
	if seen := p.inRedirects(t, "/file"); !seen["http://127.0.0.2:"+port] {
		t.Fatalf("redirects lead to %v, not to the mirror", seen)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pebble.DirectoryRoots}}}
	defer client.CloseIdleConnections()
	if err := operator.order(t.Context(), pebble.Directory, client, "mirror.example.net"); err != nil {
		t.Errorf("for the mirror's own name: %v", err)
	}
	for range 3 {
		if err := operator.order(t.Context(), pebble.Directory, client, "download.example.net"); err == nil {
			t.Error("the mirror's operator has got a certificate for the redirector's name")
		}
	}
	p.stop(t)
}
