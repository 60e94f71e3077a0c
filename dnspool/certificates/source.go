package certificates

import (
	"context"
	"crypto/tls"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"mirrorpool/config"
)

// A Source has the certificates of the redirector.
type Source interface {
	// Certificate implements GetCertificate of tls.Config.
	Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Covers reports whether there is a valid certificate for a host name.
	Covers(host string) bool
	// Status returns the state of each certificate.
	Status() []Status
	// Run keeps them current until ctx ends.
	Run(ctx context.Context) error
	// Close stops what opening it has started, where Run is not called.
	Close()
}

// isValid reports whether clients accept a certificate at a time, for the names that it has. It may be nil.
func isValid(cert *tls.Certificate, now time.Time) bool {
	return cert != nil && cert.Leaf != nil && !now.Before(cert.Leaf.NotBefore) && now.Before(cert.Leaf.NotAfter)
}

// covers reports whether a certificate is valid for a host name.
func covers(cert *tls.Certificate, host string, now time.Time) bool {
	return isValid(cert, now) && cert.Leaf.VerifyHostname(host) == nil
}

// hostOf returns the name that a client asks for: in lower case, without a final dot.
func hostOf(hello *tls.ClientHelloInfo) string {
	return strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
}

// isChallenge reports whether an authority asks for the answer to a TLS-ALPN-01 challenge.
func isChallenge(hello *tls.ClientHelloInfo) bool {
	return len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == ALPN
}

// Open returns the source that a configuration names. It opens acme, which is nil without ACME.
func Open(ctx context.Context, c config.TLS, acme *ACME, log *zap.Logger) (Source, error) {
	var files *Files
	if c.Cert != "" {
		var err error
		if files, err = OpenFiles(c, log); err != nil || acme == nil {
			return files, err
		}
	}
	if err := acme.Open(ctx); err != nil {
		return nil, err
	}
	if files == nil {
		return acme, nil
	}
	return both{acme, files}, nil
}

// both prefers certificates by ACME to the one in files, while they are valid.
type both struct {
	*ACME
	files *Files
}

// Certificate is described at [Source].
func (b both) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if isChallenge(hello) {
		return b.ACME.Certificate(hello)
	}
	name, now := hostOf(hello), time.Now()
	obtained, inFiles := b.find(name), b.files.current.Load()
	switch {
	case isValid(obtained, now):
		return obtained, nil
	case covers(inFiles, name, now), obtained == nil && isValid(inFiles, now):
		return inFiles, nil
	}
	if cert, err := b.ACME.Certificate(hello); err == nil {
		return cert, nil
	}
	return inFiles, nil
}

// Covers is described at [Source].
func (b both) Covers(host string) bool { return b.ACME.Covers(host) || b.files.Covers(host) }

// Status is described at [Source].
func (b both) Status() []Status { return append(b.ACME.Status(), b.files.Status()...) }

// Run is described at [Source].
func (b both) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return b.ACME.Run(ctx) })
	g.Go(func() error { return b.files.Run(ctx) })
	return g.Wait()
}
