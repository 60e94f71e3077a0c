package certificates

import (
	"context"
	"crypto/tls"
	"time"
)

// Fixed is one certificate, for as long as the program runs. Its Leaf is not nil.
type Fixed struct{ Cert *tls.Certificate }

// Certificate is described at [Source].
func (f Fixed) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) { return f.Cert, nil }

// Covers is described at [Source].
func (f Fixed) Covers(host string) bool { return covers(f.Cert, host, time.Now()) }

// Status is described at [Source].
func (f Fixed) Status() []Status {
	return []Status{{Name: nameOf(f.Cert.Leaf), From: f.Cert.Leaf.NotBefore, Until: f.Cert.Leaf.NotAfter}}
}

// Run does nothing until ctx ends.
func (f Fixed) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Close does nothing.
func (f Fixed) Close() {}
