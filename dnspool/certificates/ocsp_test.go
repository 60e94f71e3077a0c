package certificates

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
	"golang.org/x/crypto/ocsp"

	"mirrorpool/config"
	"mirrorpool/testdata/testbed"
)

// respond answers an OCSP request: the certificate is good.
func (a *simulatedAuthority) respond(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	req, err := ocsp.ParseRequest(text)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answer, err := ocsp.CreateResponse(a.cert, a.cert, ocsp.Response{
		Status: ocsp.Good, SerialNumber: req.SerialNumber, ThisUpdate: time.Now(), NextUpdate: time.Now().Add(day),
	}, a.key)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Write(answer)
}

// TestOCSP has an authority that serves OCSP responses: clients get one in the handshake.
func TestOCSP(t *testing.T) {
	t.Parallel()
	authority := newSimulatedAuthority(t)
	responder := httptest.NewServer(http.HandlerFunc(authority.respond))
	defer responder.Close()
	authority.ocsp = []string{responder.URL}
	acme := NewACME(Options{
		Config: &config.ACME{Names: []string{authority.name}}, Dir: t.TempDir(), Log: zap.NewNop(),
		Reach: func(string) Reach { return Reach{} }, tune: func(c *certmagic.Config) { c.Issuers = []certmagic.Issuer{authority} },
	})
	if err := acme.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- acme.Run(ctx) }()
	var cert *tls.Certificate
	testbed.EventuallyNil(t, func() (err error) {
		cert, err = acme.Certificate(&tls.ClientHelloInfo{ServerName: authority.name})
		return err
	})
	if resp, err := ocsp.ParseResponseForCert(cert.OCSPStaple, cert.Leaf, authority.cert); err != nil || resp.Status != ocsp.Good {
		t.Errorf("the OCSP response for clients: %v, %v", resp, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
