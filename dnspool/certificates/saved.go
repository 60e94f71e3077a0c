package certificates

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"mirrorpool/config/safefile"
	"mirrorpool/config/statefile"
)

// load serves the saved certificate for a name. Without a valid one of an authority in the configuration, those of
// former authorities are served until there is one.
func (a *ACME) load(ctx context.Context, m *managed, name string) {
	_ = a.repairSaved(ctx, m, name) // get reports the error
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

// repairSaved mends the saved certificates for a name: it finishes what was cut off, and sets files aside whose content
// is of no use. It returns an error if one of an authority in the configuration cannot be read. While an order for the
// name is under way it leaves them: it may be saving.
func (a *ACME) repairSaved(ctx context.Context, m *managed, name string) (err error) {
	lock := issueLock + name
	if locked, err := a.storage.TryLock(ctx, lock); !locked || err != nil {
		return nil // without the lock nothing is ordered, either
	}
	defer func() { err = cmp.Or(err, a.storage.Unlock(ctx, lock)) }()
	for _, authority := range a.authorities(ctx) {
		unread := a.checkSaved(ctx, authority, name)
		if slices.ContainsFunc(m.magic.Issuers, func(i certmagic.Issuer) bool { return i.IssuerKey() == authority }) {
			err = cmp.Or(err, unread)
		}
	}
	return err
}

// checkSaved is repairSaved for one authority.
func (a *ACME) checkSaved(ctx context.Context, authority, name string) error {
	keys := certmagic.StorageKeys
	key, chain, metadata := keys.SitePrivateKey(authority, name), keys.SiteCert(authority, name), keys.SiteMeta(authority, name)
	_, err := a.storage.finish(ctx, strings.TrimSuffix(key, ".key"))
	if err != nil {
		err = fmt.Errorf("cannot replace a saved certificate by the new one; make its folder writable for the server's user: %w", err)
	}
	var keyText []byte
	err = cmp.Or(
		err,
		a.check(key, func(text []byte) error {
			_, err := certmagic.PEMDecodePrivateKey(text)
			if err == nil {
				keyText = text
			}
			return err
		}),
		a.check(metadata, func(text []byte) error {
			return json.Unmarshal(text, new(certmagic.CertificateResource))
		}),
		a.check(chain, func(text []byte) error {
			_, err := leafOf(text)
			if err == nil && keyText != nil {
				_, err = tls.X509KeyPair(text, keyText)
			}
			return err
		}),
	)
	if !a.storage.Exists(ctx, metadata) && a.storage.isPair(key, chain) { // without the metadata, certmagic loads no pair
		err = cmp.Or(err, a.storage.Store(ctx, metadata, []byte(noMetadata)))
	}
	return err
}

// check sets a file in state_dir aside if use does not accept its content. A file that cannot be read stays, because
// its content may be good; the error is returned.
func (a *ACME) check(key string, use func([]byte) error) error {
	file := a.storage.Filename(key)
	text, err := safefile.Read(file, maxPEM)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("cannot read a saved certificate; restore the file or the right to read it: %w", err)
	}
	if err := use(text); err != nil {
		a.o.Log.Error("set a damaged file of a certificate aside", zap.String("file", file), zap.Error(err),
			zap.String("aside", file+statefile.Aside), zap.NamedError("rename", os.Rename(file, file+statefile.Aside)))
	}
	return nil
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

// Rights that other users must not have. As for other secrets, the group may read a key.
const (
	othersMayUse    fs.FileMode = 0o027 // a private key
	othersMayChange fs.FileMode = 0o022 // a folder
)

// closeToOthers takes from other users the right to use saved keys and to change the folders of certificates.
func (a *ACME) closeToOthers() {
	_ = filepath.WalkDir(a.o.Dir, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil // it is missing, or get reports it
		}
		info, err := entry.Info()
		if err != nil {
			return nil // removed since
		}
		switch mode := info.Mode(); {
		case mode.IsDir() && mode&othersMayChange != 0:
			a.setMode("other users could change a folder of certificates", file, mode, mode&^othersMayChange)
		case mode.IsRegular() && holdsKey(file) && mode&othersMayUse != 0:
			a.setMode("other users could read a private key; have it replaced if they may have done so", file, mode, 0o600)
		}
		return nil
	})
}

// holdsKey reports whether a file in state_dir has a private key: of a certificate or of an account.
func holdsKey(file string) bool {
	return strings.Contains(filepath.Base(file), ".key") || filepath.Base(filepath.Dir(file)) == "accounts"
}

// setMode corrects the mode of a file, and logs why.
func (a *ACME) setMode(message, file string, was, mode fs.FileMode) {
	a.o.Log.Warn(message, zap.String("file", file), zap.Stringer("mode", was), zap.Stringer("corrected", mode),
		zap.Error(os.Chmod(file, mode)))
}
