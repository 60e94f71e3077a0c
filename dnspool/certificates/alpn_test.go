package certificates_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/dnspool/certificates"
	"mirrorpool/dnspool/redirector"
	"mirrorpool/testdata/testbed"
)

// TestChallengeConnectionIsClosed: a connection of acme-tls/1 is for the handshake alone (RFC 8737 section 3).
func TestChallengeConnectionIsClosed(t *testing.T) {
	t.Parallel()
	const name = "download.example.net"
	authority := testbed.NewAuthority(t)
	cert, key := authority.IssueFiles(t, name, time.Now().Add(time.Hour))
	c := config.HTTP{BasePath: "/", TLS: &config.TLS{Listen: []string{"127.0.0.1:0"}, Cert: cert, Key: key}, ACME: &config.ACME{}}
	acme := certificates.NewACME(certificates.Options{Config: c.ACME, Dir: t.TempDir(), Log: zap.NewNop()})
	handler := redirector.NewHandler(redirector.Options{Config: c, Current: new(dnspool.Current), ACME: acme, Source: noRandomness{}, Now: time.Now})
	s, err := redirector.Listen(t.Context(), nil, c, handler, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	if err := acme.PresentALPN(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		protocols []string
		version   uint16
		challenge bool
	}{
		{[]string{"acme-tls/1"}, tls.VersionTLS12, true},
		{[]string{"acme-tls/1"}, tls.VersionTLS13, true},
		{[]string{"acme-tls/1", "other"}, tls.VersionTLS13, true},
		{[]string{"acme-tls/1", "http/1.1"}, tls.VersionTLS13, false},
		{nil, tls.VersionTLS13, false},
	} {
		conn, err := tls.Dial("tcp", s.Addrs()[0].String(), &tls.Config{
			ServerName: name, InsecureSkipVerify: true, NextProtos: test.protocols, MinVersion: test.version, MaxVersion: test.version,
		})
		if err != nil {
			t.Errorf("%v: %v", test, err)
			continue
		}
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprintf(conn, "GET /robots.txt HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", name)
		answer, err := io.ReadAll(conn) // a reset, if the request comes after the end
		if errors.Is(err, os.ErrDeadlineExceeded) || (len(answer) == 0) != test.challenge {
			t.Errorf("%v: answer %q, %v", test, answer, err)
		}
		conn.Close()
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
