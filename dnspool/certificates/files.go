package certificates

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/config/failure"
	"mirrorpool/config/safefile"
)

const maxPEM = 1 << 20 // bytes of a certificate with its chain, or of a key

// pollInterval is how often the certificate's files are checked for changes.
const pollInterval = 10 * time.Second

// Files has a certificate that is loaded from files, and reloaded when they change.
type Files struct {
	files   config.TLS
	log     *zap.Logger
	current atomic.Pointer[tls.Certificate]
	seen    [2]os.FileInfo // the files as of the latest load
	failure failure.Last
}

// OpenFiles loads the certificate of a configuration.
func OpenFiles(files config.TLS, log *zap.Logger) (*Files, error) {
	c := &Files{files: files, log: log}
	if _, err := c.reload(); err != nil {
		return nil, err
	}
	return c, nil
}

// Certificate implements GetCertificate of tls.Config.
func (c *Files) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.current.Load(), nil
}

// Covers reports whether the certificate is valid for a host name.
func (c *Files) Covers(host string) bool { return covers(c.current.Load(), host, time.Now()) }

// Status returns the state of the certificate.
func (c *Files) Status() []Status {
	leaf := c.current.Load().Leaf
	return []Status{{Name: nameOf(leaf), From: leaf.NotBefore, Until: leaf.NotAfter}}
}

// nameOf returns the first name that a certificate is for.
func nameOf(leaf *x509.Certificate) string {
	if len(leaf.DNSNames) > 0 {
		return leaf.DNSNames[0]
	}
	return leaf.Subject.CommonName
}

// Close does nothing.
func (c *Files) Close() {}

// Run reloads the certificate when its files change, until ctx ends.
func (c *Files) Run(ctx context.Context) error { return c.run(ctx, pollInterval) }

func (c *Files) run(ctx context.Context, interval time.Duration) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		changed, err := c.reload()
		if c.failure.IsNew(err) {
			c.log.Error("cannot load the new certificate; the old one stays in use", zap.Error(err))
		}
		if changed {
			c.log.Info("certificate reloaded", zap.Time("expires", c.current.Load().Leaf.NotAfter))
		}
	}
}

// reload reads the files if they have changed. While certificate and key do not match yet, it returns an error, and the
// next call tries again.
func (c *Files) reload() (changed bool, err error) {
	var now [2]os.FileInfo
	same := true
	for i, path := range [...]string{c.files.Cert, c.files.Key} {
		if now[i], err = os.Stat(path); err != nil {
			return false, fmt.Errorf("cannot read the certificate: %v", err)
		}
		same = same && safefile.Same(c.seen[i], now[i])
	}
	if same {
		return false, nil
	}
	pair, err := LoadFiles(c.files)
	if err != nil {
		return false, err
	}
	c.seen = now
	c.current.Store(pair)
	return true, nil
}

// LoadFiles reads a certificate and its key. The key file must pass [safefile.ReadSecret].
func LoadFiles(files config.TLS) (*tls.Certificate, error) {
	cert, err := safefile.Read(files.Cert, maxPEM)
	if err != nil {
		return nil, fmt.Errorf("cannot read the certificate: %w", err)
	}
	key, err := safefile.ReadSecret(files.Key, maxPEM)
	if err != nil {
		return nil, fmt.Errorf("cannot read the certificate's key: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("cannot use the certificate in %s with the key in %s: %v", files.Cert, files.Key, err)
	}
	return &pair, nil
}
