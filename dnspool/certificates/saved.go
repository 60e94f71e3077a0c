package certificates

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"path"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"mirrorpool/config/statefile"
)

// load serves the saved certificate for a name. Without a valid one of an authority in the configuration, those of
// former authorities are served until there is one.
func (a *ACME) load(ctx context.Context, m *managed, name string) {
	a.setDamagedAside(ctx, name)
	if cert, err := m.magic.CacheManagedCertificate(ctx, name); err == nil && !cert.Expired() {
		return
	}
	for _, key := range a.authorities(ctx) {
		former := certmagic.New(m.cache, certmagic.Config{
			Issuers: []certmagic.Issuer{formerAuthority(key)}, Storage: a.storage, Logger: a.magicLog(),
		})
		_, _ = former.CacheManagedCertificate(ctx, name) // without any, one is ordered
	}
}

// authorities returns the names that authorities have in state_dir, former ones included.
func (a *ACME) authorities(ctx context.Context) (keys []string) {
	folders, _ := a.storage.List(ctx, "certificates", false) // which is missing at first
	for _, folder := range folders {
		keys = append(keys, path.Base(folder))
	}
	return keys
}

// A formerAuthority is one whose certificates are in state_dir.
type formerAuthority string

// IssuerKey returns its name there.
func (f formerAuthority) IssuerKey() string { return string(f) }

// Issue is never called: the configuration says where certificates are ordered.
func (f formerAuthority) Issue(context.Context, *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	return nil, errors.New("this authority is no longer in http.tls.acme.directory")
}

// setDamagedAside renames the files of saved certificates for a name that cannot be used.
func (a *ACME) setDamagedAside(ctx context.Context, name string) {
	keys := certmagic.StorageKeys
	for _, authority := range a.authorities(ctx) {
		var keyText []byte
		a.check(keys.SitePrivateKey(authority, name), func(text []byte) error {
			_, err := certmagic.PEMDecodePrivateKey(text)
			if err == nil {
				keyText = text
			}
			return err
		})
		a.check(keys.SiteMeta(authority, name), func(text []byte) error {
			return json.Unmarshal(text, new(certmagic.CertificateResource))
		})
		a.check(keys.SiteCert(authority, name), func(text []byte) error {
			_, err := leafOf(text)
			if err == nil && keyText != nil {
				_, err = tls.X509KeyPair(text, keyText)
			}
			return err
		})
	}
}

// check sets a file in state_dir aside if use does not accept it.
func (a *ACME) check(key string, use func([]byte) error) {
	err := statefile.Load(a.storage.Filename(key), func(r io.Reader) error {
		text, err := io.ReadAll(io.LimitReader(r, maxPEM))
		if err != nil {
			return err
		}
		return use(text)
	})
	if err != nil {
		a.o.Log.Error("cannot use a file of a certificate", zap.Error(err))
	}
}

// upToDate returns the certificate that is served for a name, if an authority in the configuration issued it and it is
// not due for renewal.
func (a *ACME) upToDate(ctx context.Context, m *managed, name string) (cert certmagic.Certificate, ok bool) {
	served := m.cache.AllMatchingCertificates(name)
	for _, authority := range m.magic.Issuers {
		text, err := a.storage.Load(ctx, certmagic.StorageKeys.SiteCert(authority.IssuerKey(), name))
		if err != nil {
			continue
		}
		leaf, err := leafOf(text)
		if err != nil {
			continue
		}
		for _, cert := range served {
			if cert.Leaf.Equal(leaf) && !cert.NeedsRenewal(m.magic) {
				return cert, true
			}
		}
	}
	return certmagic.Certificate{}, false
}

// serveOnly removes other certificates for a name, such as those of a former authority.
func serveOnly(cache *certmagic.Cache, name string, cert certmagic.Certificate) {
	var others []string
	for _, c := range cache.AllMatchingCertificates(name) {
		if c.Names[0] == name && c.Hash() != cert.Hash() {
			others = append(others, c.Hash())
		}
	}
	cache.Remove(others)
}
