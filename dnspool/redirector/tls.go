package redirector

import (
	"context"
	"crypto/tls"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/dnspool/certificates"
)

// cipherSuites are those for TLS 1.2: with forward secrecy and authenticated encryption. Those of TLS 1.3 are fixed.
var cipherSuites = []uint16{ // must not be changed
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// openTLS prepares what https needs: certificates, and the keys of session tickets.
func (s *Server) openTLS(ctx context.Context, c config.TLS, handler *Handler, log *zap.Logger) (err error) {
	if handler.Certificate != nil {
		s.certificates = certificates.Fixed{Cert: handler.Certificate}
	} else if s.certificates, err = certificates.Open(ctx, c, handler.ACME, log); err != nil {
		return err
	}
	s.tls = &tls.Config{
		MinVersion: tls.VersionTLS12, CipherSuites: cipherSuites, GetCertificate: s.certificates.Certificate,
		NextProtos: []string{http2Protocol, "http/1.1"},
	}
	if handler.ACME != nil {
		s.tls.NextProtos = append(s.tls.NextProtos, certificates.ALPN)
	}
	s.tickets = certificates.NewTickets(handler.TicketFile, time.Now(), log, s.tls)
	s.http.TLSConfig = s.tls.Clone() // net/http adds HTTP/2 to it
	return nil
}

// Certificates returns the state of the certificates of https, none without TLS.
func (s *Server) Certificates() []certificates.Status {
	if s.certificates == nil {
		return nil
	}
	return s.certificates.Status()
}
