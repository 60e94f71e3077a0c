package probe

import (
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
)

// tlsConfig accepts what most clients of mirrors accept. It trusts roots, or the system's certificates if roots is nil.
func tlsConfig(roots *x509.CertPool) *tls.Config {
	return &tls.Config{
		RootCAs: roots, MinVersion: tls.VersionTLS12,
		// No post-quantum key exchange: it takes a fifth of a probe's time to keep public content secret.
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521},
		CipherSuites:     cipherSuites(),
	}
}

// rsaSuites are those with RSA key exchange that browsers still accept. Go leaves them out unless they are asked for.
var rsaSuites = []uint16{
	tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_256_CBC_SHA,
}

func cipherSuites() []uint16 {
	ids := slices.Clone(rsaSuites)
	for _, suite := range tls.CipherSuites() {
		ids = append(ids, suite.ID)
	}
	return ids
}

// tlsWarning says what some clients refuse in a TLS connection, or returns "". The probe has offered everything that is
// preferred to it.
func tlsWarning(state *tls.ConnectionState) string {
	switch {
	case state == nil:
		return ""
	case state.Version == tls.VersionTLS12 && slices.Contains(rsaSuites, state.CipherSuite):
		return "TLS with RSA key exchange only, which some clients refuse: offer ECDHE ciphers"
	case state.CurveID == tls.CurveP521:
		return "TLS with the curve P-521 only, which some clients refuse: offer X25519 and P-256"
	}
	return weakKey(state.PeerCertificates)
}

// minRSABits is the shortest RSA key that OpenSSL accepts at its usual security level of 2.
const minRSABits = 2048

// weakKey says which certificate has a key that is too short, or returns "".
func weakKey(certs []*x509.Certificate) string {
	for _, cert := range certs {
		if key, ok := cert.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() < minRSABits {
			return fmt.Sprintf("certificate of %q has an RSA key of %d bits, which clients with OpenSSL refuse (ee key too small)",
				shorten(nameOf(&cert.Subject), 60), key.N.BitLen())
		}
	}
	return ""
}

// The alerts of a server that supports nothing that the client offers (RFC 5246 section 7.2.2).
const (
	alertHandshakeFailure     tls.AlertError = 40
	alertProtocolVersion      tls.AlertError = 70
	alertInsufficientSecurity tls.AlertError = 71
)

// describeAlert says what an alert of the server means, or returns "".
//
// The type of the alerts that crypto/tls returns is not exported, but has the texts of the one that is.
func describeAlert(err error) string {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" || op.Err == nil {
		return ""
	}
	switch op.Err.Error() {
	case alertHandshakeFailure.Error(), alertInsufficientSecurity.Error():
		return "the server refused the handshake: it may offer no cipher and key exchange that browsers accept, " +
			"but CBC with SHA-384 or finite-field DH alone"
	case alertProtocolVersion.Error():
		return "the server refused the handshake: it speaks neither TLS 1.2 nor 1.3"
	}
	return ""
}
