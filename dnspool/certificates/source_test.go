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

	"github.com/caddyserver/certmagic"
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

// TestOtherNames has a client ask for a name that is not in the configuration: it gets the certificate of the first
// name that has a valid one, or else of the first that has one.
func TestOtherNames(t *testing.T) {
	t.Parallel()
	const first, second, third = "a.example.org", "b.example.org", "c.example.org"
	authority := testbed.NewAuthority(t)
	for _, test := range []struct {
		valid, expired []string
		want           string // "": none
	}{
		{[]string{first, second}, nil, first},
		{[]string{second, third}, []string{first}, second},
		{[]string{third}, []string{first, second}, third},
		{nil, []string{second, third}, second},
		{nil, nil, ""},
	} {
		dir := t.TempDir()
		save := func(names []string, until time.Time) {
			for _, name := range names {
				site := certmagic.StorageKeys.CertsSitePrefix("authority", name) + "/" + name
				savedSite{newStorage(dir), site}.save(t, authority.Issue(t, name, until), nil)
			}
		}
		save(test.valid, time.Now().Add(day))
		save(test.expired, time.Now().Add(-day))
		acme := NewACME(Options{Config: &config.ACME{Names: []string{first, second, third}}, Dir: dir, Log: zap.NewNop()})
		if err := acme.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer acme.Close()
		for _, asked := range []string{"", "x.example.net"} {
			got := ""
			cert, err := acme.Certificate(&tls.ClientHelloInfo{ServerName: asked})
			if err == nil {
				got = cert.Leaf.DNSNames[0]
			}
			if got != test.want || (err != nil) != (test.want == "") {
				t.Errorf("valid %v, expired %v: %q gets that of %q, %v, want %q", test.valid, test.expired, asked, got, err, test.want)
			}
		}
	}
}

// expiring is a certificate without a key.
func expiring(name string, until time.Time) *tls.Certificate {
	return &tls.Certificate{Leaf: &x509.Certificate{
		Raw: []byte(name), SerialNumber: big.NewInt(9), DNSNames: []string{name}, NotBefore: until.Add(-90 * day), NotAfter: until,
	}}
}
