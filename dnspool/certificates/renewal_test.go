package certificates_test

import (
	"context"
	"crypto/tls"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
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

// TestRenewalUnderLoad has clients connect without a pause while certificates are renewed again and again: no handshake
// may fail, nor may a client get a certificate that is not valid.
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
	connect := func() error {
		conn, err := tls.Dial("tcp", addr, client)
		if err == nil {
			conn.Close()
		}
		return err
	}
	testbed.EventuallyNil(t, connect)

	var load sync.WaitGroup
	var handshakes, failed atomic.Int64
	loaded, stop := context.WithCancel(t.Context())
	for range clients {
		load.Go(func() {
			for loaded.Err() == nil {
				if err := connect(); err != nil && failed.Add(1) == 1 {
					t.Errorf("a handshake: %v", err)
				}
				handshakes.Add(1)
			}
		})
	}
	testbed.Eventually(t, "certificates are renewed", func() bool {
		return logs.FilterMessage("certificate obtained").FilterField(zap.Bool("renewal", true)).Len() >= renewals
	})
	stop()
	load.Wait()
	if info, err := acme.RenewalInfo(t.Context(), name); err != nil || !info.SuggestedWindow.End.After(info.SuggestedWindow.Start) {
		t.Errorf("the authority's suggestion when to renew: %+v, %v", info, err)
	}
	t.Logf("%d renewals, %d handshakes, %d failed", renewals, handshakes.Load(), failed.Load())
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// noRandomness is a source of randomness for a redirector that redirects nothing.
type noRandomness struct{}

func (noRandomness) Uint64() uint64 { return 0 }
