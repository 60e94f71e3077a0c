package certificates

import (
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/testdata/testbed"
)

// TestBothSources has a certificate by ACME beside one in files, while each of them expires: clients get a valid one
// for the name they ask for as long as there is one.
func TestBothSources(t *testing.T) {
	dir, files := t.TempDir(), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		authority := newSimulatedAuthority(t)
		acme, stop := runSimulated(t, dir, authority, zap.NewNop())
		defer stop()
		synctest.Wait()
		inFiles := config.TLS{Cert: filepath.Join(files, "cert.pem"), Key: filepath.Join(files, "key.pem")}
		writeFilesFor(t, testbed.NewAuthority(t), inFiles, authority.name, time.Now().Add(95*day))
		file, err := OpenFiles(inFiles, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		other := both{acme, &Files{}}
		other.files.current.Store(expiring("*.example.net", time.Now().Add(5*day)))
		source := both{acme, file}
		check := func(s both, name string, want *tls.Certificate, covers bool) {
			t.Helper()
			got, err := s.Certificate(&tls.ClientHelloInfo{ServerName: name})
			if err != nil || !got.Leaf.Equal(want.Leaf) {
				t.Errorf("on day %v, %q: a certificate until %v, %v, want one until %v", time.Since(acme.Status()[0].From)/day, name,
					got.Leaf.NotAfter, err, want.Leaf.NotAfter)
			}
			if s.Covers(name) != covers {
				t.Errorf("on day %v, %q is covered: %v", time.Since(acme.Status()[0].From)/day, name, !covers)
			}
		}
		obtained, beside := acme.find(authority.name), file.current.Load()
		check(source, authority.name, obtained, true)
		check(source, strings.ToUpper(authority.name)+".", obtained, true)
		check(source, "", beside, false)
		check(other, "a.example.net", other.files.current.Load(), true)
		check(other, "", other.files.current.Load(), false)
		authority.down.Store(true)
		time.Sleep(6 * day) // the one in other's files has expired
		check(other, authority.name, obtained, true)
		check(other, "", obtained, false)
		check(other, "a.example.net", obtained, false) // no certificate is valid for it
		time.Sleep(85 * day)                           // the one by ACME, too
		check(source, authority.name, beside, true)
		check(source, "", beside, false)
		check(other, authority.name, obtained, false)
		time.Sleep(5 * day) // all have
		check(source, authority.name, obtained, false)
		if (Fixed{beside}).Covers(authority.name) || file.Covers(authority.name) {
			t.Error("an expired certificate covers its name")
		}
	})
}

// expiring is a certificate without a key.
func expiring(name string, until time.Time) *tls.Certificate {
	return &tls.Certificate{Leaf: &x509.Certificate{
		Raw: []byte(name), SerialNumber: big.NewInt(9), DNSNames: []string{name}, NotBefore: until.Add(-90 * day), NotAfter: until,
	}}
}
