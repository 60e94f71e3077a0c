package certificates

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sync/errgroup"

	"mirrorpool/config"
)

const day = 24 * time.Hour

// A simulatedAuthority issues certificates for 90 days, unless it is down.
type simulatedAuthority struct {
	name   string // that it is asked to certify
	key    *ecdsa.PrivateKey
	cert   *x509.Certificate
	ocsp   []string // URLs of OCSP responders, in certificates
	down   atomic.Bool
	hangs  atomic.Bool
	asked  atomic.Int64
	issued atomic.Int64
}

// authorities counts simulated authorities.
var authorities atomic.Int64

// newSimulatedAuthority returns an authority, and a name to order a certificate for. No other test uses the name:
// certmagic knows globally when a renewal is tried again.
func newSimulatedAuthority(t *testing.T) *simulatedAuthority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "simulated"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now(), NotAfter: time.Now().Add(3650 * day)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &simulatedAuthority{name: fmt.Sprintf("host%d.example.org", authorities.Add(1)), key: key, cert: cert}
}

// IssuerKey names the authority in state_dir.
func (a *simulatedAuthority) IssuerKey() string { return "simulated" }

// Issue issues a certificate.
func (a *simulatedAuthority) Issue(ctx context.Context, csr *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	a.asked.Add(1)
	if a.hangs.Load() {
		<-ctx.Done()
		return nil, fmt.Errorf("order: %w", ctx.Err())
	}
	if a.down.Load() {
		return nil, errors.New("the authority is down")
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1 + a.issued.Add(1)), DNSNames: csr.DNSNames, NotBefore: time.Now(),
		NotAfter: time.Now().Add(90 * day), KeyUsage: x509.KeyUsageDigitalSignature, OCSPServer: a.ocsp}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, csr.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	chain := slices.Concat(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
	return &certmagic.IssuedCertificate{Certificate: chain}, nil
}

// serves returns the serial number of the certificate that clients get, 0 for none. It may have ended, if ended says
// so.
func serves(t *testing.T, acme *ACME, authority *simulatedAuthority, ended bool) int64 {
	t.Helper()
	cert, err := acme.Certificate(&tls.ClientHelloInfo{ServerName: authority.name})
	if err != nil {
		return 0
	}
	roots := x509.NewCertPool()
	roots.AddCert(authority.cert)
	_, err = cert.Leaf.Verify(x509.VerifyOptions{DNSName: authority.name, Roots: roots, CurrentTime: time.Now()})
	if (err != nil) != ended {
		t.Fatalf("after the certificate of %v: %v", cert.Leaf.NotBefore, err)
	}
	return cert.Leaf.SerialNumber.Int64()
}

// TestOutages has an authority down, in simulated time, for 60 days in which the certificate is to be renewed, and then
// for good. The rest is real: certmagic, the files, the watch on certificates that end.
func TestOutages(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.WarnLevel)
		authority := newSimulatedAuthority(t)
		acme, stop := runSimulated(t, dir, authority, zap.New(core))
		pass := func(d time.Duration, want int64, ended bool) {
			t.Helper()
			for end := time.Now().Add(d); time.Now().Before(end); {
				time.Sleep(time.Hour)
				synctest.Wait()
				if got := serves(t, acme, authority, ended); got != want {
					t.Fatalf("certificate %d is served, want %d", got, want)
				}
			}
		}
		pass(24*day, 2, false)
		authority.down.Store(true) // until day 84; from day 60 on it is asked
		pass(60*day, 2, false)
		if n := authority.asked.Load(); n < 24 || n > 24*24 {
			t.Errorf("in 24 days the authority was asked %d times", n)
		}
		if logs.FilterMessage(messageOverdue).FilterLevelExact(zap.WarnLevel).Len() == 0 {
			t.Error("no warning, 6 days before the end")
		}
		authority.down.Store(false)
		time.Sleep(7 * time.Hour) // it is asked every 6 hours by now
		pass(day, 3, false)
		if s := acme.Status()[0]; s.Problem != "" || s.trouble(time.Now()) != "" {
			t.Errorf("after the outage: %+v", s)
		}
		authority.down.Store(true) // for good
		pass(88*day, 3, false)
		logs.TakeAll()
		time.Sleep(day + 18*time.Hour) // the 90 days are over
		pass(7*day, 3, true)
		if logs.FilterMessage(messageExpired).FilterLevelExact(zap.ErrorLevel).Len() < 7 {
			t.Error("no error each day that the certificate has ended")
		}
		if s := acme.Status()[0]; s.Problem == "" || !s.Overdue(time.Now()) {
			t.Errorf("in the outage: %+v", s)
		}
		stop()
		authority.down.Store(false)
		acme, stop = runSimulated(t, dir, authority, zap.New(core))
		defer stop()
		time.Sleep(time.Minute)
		pass(day, 4, false)
	})
}

// runSimulated runs an ACME over a folder until stop is called.
func runSimulated(t *testing.T, dir string, authority *simulatedAuthority, log *zap.Logger) (acme *ACME, stop func()) {
	t.Helper()
	return runACME(t, Options{
		Config: &config.ACME{Names: []string{authority.name}}, Dir: dir, Log: log,
		Reach: func(string) Reach { return Reach{} }, tune: func(c *certmagic.Config) { c.Issuers = []certmagic.Issuer{authority} },
	})
}

// runACME runs an ACME, in simulated time, until stop is called. A test in which certificates become due must not be
// parallel: certmagic's queue of renewals is global, and one test's bubble would run another one's.
func runACME(t *testing.T, o Options) (acme *ACME, stop func()) {
	t.Helper()
	acme = NewACME(o)
	return acme, start(t, acme, o.Log)
}

// start opens and runs an ACME, in simulated time, until stop is called.
func start(t *testing.T, acme *ACME, log *zap.Logger) (stop func()) {
	t.Helper()
	if err := acme.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var g errgroup.Group
	g.Go(func() error { return acme.Run(ctx) })
	g.Go(func() error { return Watch(ctx, acme.Status, time.Now, log) })
	return func() {
		cancel()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute) // until certmagic has noticed that its lock files are gone
	}
}
