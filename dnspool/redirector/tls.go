package redirector

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strconv"
	"strings"
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

// openTLS opens the certificates and the keys of session tickets.
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

// setTLS notes what https adds to responses, and where http leads. servers are those of https.
func (s *Server) setTLS(c *config.TLS, servers []*plainServer) {
	if c.HSTS > 0 {
		s.hsts = "max-age=" + strconv.Itoa(int(c.HSTS/time.Second))
	}
	if c.Only && len(servers) > 0 {
		_, s.httpsPort, _ = net.SplitHostPort(servers[0].Addr().String())
	}
}

// httpsCaching is for how long browsers keep a redirect to https. Without a limit they would keep it for good, and an
// administrator could not go back to http.
const httpsCaching = "max-age=3600"

// toHTTPS returns where a request over http leads because https is wanted, or "".
func (s *Server) toHTTPS(r *http.Request, handler *Handler) string {
	if s.httpsPort == "" || r.TLS != nil || r.Method != http.MethodGet && r.Method != http.MethodHead ||
		handler.route(r.URL, len(r.RequestURI)).anyScheme {
		return ""
	}
	if !strings.HasPrefix(r.URL.RequestURI(), "/") {
		return "" // such as x:@evil.example: behind the host, it would be another host
	}
	host, port := splitHost(r.Host)
	if !s.certificates.Covers(host) || clientOf(r, handler.trustedProxies()).secure {
		return ""
	}
	return "https://" + httpsHost(host, port, s.httpsPort) + r.URL.RequestURI()
}

// splitHost splits a Host header. Brackets of an IPv6 address are taken off, and port may be "".
func splitHost(s string) (host, port string) {
	if host, port, err := net.SplitHostPort(s); err == nil {
		return host, port
	}
	return strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"), ""
}

// httpsHost returns the host and port of https, for a client that asked for a host at a port over http. If that is the
// default port, so is that of https: what stands between, such as the ports of a container, may lead it to any local
// port. Otherwise clients see the local ports.
func httpsHost(host, port, local string) string {
	if port != "" && port != "80" && local != "443" {
		return net.JoinHostPort(host, local)
	}
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}
