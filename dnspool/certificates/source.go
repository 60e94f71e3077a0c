package certificates

import (
	"context"
	"crypto/tls"
	"strings"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"mirrorpool/config"
)

// A Source has the certificates of the redirector.
type Source interface {
	// Certificate implements GetCertificate of tls.Config.
	Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Covers reports whether there is a certificate for a host name.
	Covers(host string) bool
	// Status returns what there is to say of each certificate.
	Status() []Status
	// Run keeps them current until ctx ends.
	Run(ctx context.Context) error
	// Close ends what opening it has begun, where Run is not going to.
	Close()
}

// Open returns the source that a configuration asks for. acme is nil without ACME; it is opened otherwise.
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

// both prefers certificates by ACME to the one in files.
type both struct {
	*ACME
	files *Files
}

// Certificate is described at [Source].
func (b both) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if hello.ServerName == "" || len(hello.SupportedProtos) != 1 || hello.SupportedProtos[0] != ALPN {
		if b.find(strings.ToLower(hello.ServerName)) == nil {
			return b.files.Certificate(hello)
		}
	}
	return b.ACME.Certificate(hello)
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
