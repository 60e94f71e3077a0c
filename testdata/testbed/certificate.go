package testbed

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// An Authority issues certificates.
type Authority struct {
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	issued atomic.Int64
}

// NewAuthority returns an authority that no client trusts yet.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{key: newKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mirrorpool test authority"}, IsCA: true,
		BasicConstraintsValid: true,
		NotBefore:             time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().AddDate(1, 0, 0), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err == nil {
		a.cert, err = x509.ParseCertificate(der)
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// File writes the authority's own certificate to a file, for clients that are to trust it.
func (a *Authority) File(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "authority.pem")
	writePEM(t, path, "CERTIFICATE", a.cert.Raw)
	return path
}

// Raw is the authority's own certificate as DER.
func (a *Authority) Raw() []byte { return a.cert.Raw }

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func writePEM(t testing.TB, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Roots are what a client has to trust to accept what the authority issues.
func (a *Authority) Roots() *x509.CertPool {
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	return roots
}

// Issue returns a certificate for a host's name, and addresses, that ends at a time. It began a day before that, or
// before now.
func (a *Authority) Issue(t testing.TB, host string, end time.Time, addrs ...netip.Addr) tls.Certificate {
	t.Helper()
	begin := end
	if now := time.Now(); now.Before(end) {
		begin = now
	}
	return a.Sign(t, newKey(t), host, begin.Add(-24*time.Hour), end, addrs...)
}

// IssueFiles is Issue into files.
func (a *Authority) IssueFiles(t testing.TB, host string, end time.Time, addrs ...netip.Addr) (cert, key string) {
	t.Helper()
	return WriteCertificate(t, a.Issue(t, host, end, addrs...))
}

// Sign returns a certificate for a key.
func (a *Authority) Sign(
	t testing.TB, key crypto.Signer, host string, begin, end time.Time, addrs ...netip.Addr,
) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1 + a.issued.Add(1)), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: begin, NotAfter: end, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if _, ok := key.(*rsa.PrivateKey); ok {
		template.KeyUsage |= x509.KeyUsageKeyEncipherment
	}
	for _, addr := range addrs {
		template.IPAddresses = append(template.IPAddresses, net.IP(addr.AsSlice()))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// WriteCertificate writes a certificate and its key to files.
func WriteCertificate(t testing.TB, c tls.Certificate) (cert, key string) {
	t.Helper()
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, cert, "CERTIFICATE", c.Certificate[0])
	writePEM(t, key, "PRIVATE KEY", der)
	return cert, key
}
