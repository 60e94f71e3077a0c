package redirector

import (
	"context"
	"crypto/tls"
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

// A certificate is loaded from files, and reloaded when they change.
type certificate struct {
	files   config.TLS
	log     *zap.Logger
	current atomic.Pointer[tls.Certificate]
	seen    [2]os.FileInfo // the files as of the latest load
	failure failure.Last
}

func loadCertificate(files config.TLS, log *zap.Logger) (*certificate, error) {
	c := &certificate{files: files, log: log}
	if _, err := c.reload(); err != nil {
		return nil, err
	}
	return c, nil
}

// get implements GetCertificate of tls.Config.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.current.Load(), nil
}

// run reloads the certificate when its files change, until ctx ends.
func (c *certificate) run(ctx context.Context, interval time.Duration) error {
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
func (c *certificate) reload() (changed bool, err error) {
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
	pair, err := LoadCertificate(c.files)
	if err != nil {
		return false, err
	}
	c.seen = now
	c.current.Store(pair)
	return true, nil
}

// LoadCertificate reads a certificate and its key. The key file must pass [safefile.ReadSecret].
func LoadCertificate(files config.TLS) (*tls.Certificate, error) {
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
