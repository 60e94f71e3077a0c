package certificates_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/dnspool/certificates"
	"mirrorpool/dnspool/redirector"
	"mirrorpool/testdata/testbed"
)

// A loadClient connects again and again. It gets each certificate until the next one, and none after that.
type loadClient struct {
	serials    []string // of the certificates, each once
	handshakes int
	err        error // of the first handshake that failed, or got an earlier certificate
}

// connect connects once.
func (c *loadClient) connect(addr string, config *tls.Config) error {
	conn, err := tls.Dial("tcp", addr, config)
	if err != nil {
		return err
	}
	defer conn.Close()
	c.handshakes++
	serial := conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	switch i := slices.Index(c.serials, serial); {
	case i < 0:
		c.serials = append(c.serials, serial)
	case i < len(c.serials)-1:
		return fmt.Errorf("certificate %d of %d is served again", i+1, len(c.serials))
	}
	return nil
}

// TestRenewalUnderLoad has clients connect without a pause while certificates are renewed again and again: no handshake
// fails, and clients get the certificates that were issued, one after the other, and nothing else.
func TestRenewalUnderLoad(t *testing.T) {
	t.Parallel()
	const (
		name     = "download.example.net"
		clients  = 4
		renewals = 3
	)
	httpPort, httpsPort := testbed.FreePort(t), testbed.FreePort(t)
	pebble, _ := testbed.StartPebble(t, testbed.PebbleOptions{
		Resolver: testbed.StartNames(t, map[string]string{name: "127.0.0.1"}, nil),
		HTTPPort: httpPort, TLSPort: httpsPort, Validity: 10 * time.Minute,
	})
	core, logs := observer.New(zap.InfoLevel)
	c := config.HTTP{BasePath: "/", Listen: []string{"127.0.0.1:" + httpPort}, TLS: &config.TLS{Listen: []string{"127.0.0.1:" + httpsPort}},
		ACME: &config.ACME{Names: []string{name}, Directories: []string{pebble.Directory}, CARoot: pebble.CARoot}}
	acme := certificates.NewACME(certificates.Options{
		Config: c.ACME, Dir: filepath.Join(t.TempDir(), "certificates"), Log: zap.New(core),
		Reach: func(string) certificates.Reach { return certificates.Reach{HTTP: true} },
	}.RenewAtOnce())
	handler := redirector.NewHandler(redirector.Options{Config: c, Current: new(dnspool.Current), ACME: acme, Source: noRandomness{}, Now: time.Now})
	s, err := redirector.Listen(t.Context(), nil, c, handler, zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	client := &tls.Config{ServerName: name, RootCAs: pebble.Roots(t)}
	addr := net.JoinHostPort("127.0.0.1", httpsPort)
	testbed.EventuallyNil(t, func() error { return new(loadClient).connect(addr, client) })

	var load sync.WaitGroup
	loaded, stop := context.WithCancel(t.Context())
	list := make([]loadClient, clients)
	for i := range list {
		load.Go(func() {
			for c := &list[i]; loaded.Err() == nil && c.err == nil; {
				c.err = c.connect(addr, client)
			}
		})
	}
	obtained := func() *observer.ObservedLogs { return logs.FilterMessage("certificate obtained") }
	testbed.Eventually(t, "certificates are renewed", func() bool {
		return obtained().FilterField(zap.Bool("renewal", true)).Len() >= renewals
	})
	stop()
	load.Wait()
	checkLoad(t, list, obtained().Len())
	if info, err := acme.RenewalInfo(t.Context(), name); err != nil || !info.SuggestedWindow.End.After(info.SuggestedWindow.Start) {
		t.Errorf("the authority's suggestion when to renew: %+v, %v", info, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// checkLoad looks for handshakes that failed, and for other certificates than those that were issued.
func checkLoad(t *testing.T, clients []loadClient, issued int) {
	t.Helper()
	seen, handshakes := map[string]bool{}, 0
	for _, c := range clients {
		if c.err != nil || len(c.serials) < 2 {
			t.Errorf("a client got %d certificates in %d handshakes: %v", len(c.serials), c.handshakes, c.err)
		}
		for _, serial := range c.serials {
			seen[serial] = true
		}
		handshakes += c.handshakes
	}
	if len(seen) > issued {
		t.Errorf("%d certificates are served, %d were issued", len(seen), issued)
	}
	t.Logf("%d handshakes, %d certificates, %d issued", handshakes, len(seen), issued)
}

// noRandomness is a source of randomness for a redirector that redirects nothing.
type noRandomness struct{}

func (noRandomness) Uint64() uint64 { return 0 }
