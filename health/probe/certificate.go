package probe

import (
	"crypto/tls"
	"crypto/x509"
	"errors"

	"mirrorpool/health"
)

// noteCertificate records when the first certificate of a verified chain expires.
func noteCertificate(state *tls.ConnectionState, o *health.Observation) {
	if state == nil || len(state.VerifiedChains) == 0 {
		return
	}
	for _, cert := range state.VerifiedChains[0] {
		if o.CertExpires.IsZero() || cert.NotAfter.Before(o.CertExpires) {
			o.CertExpires = cert.NotAfter
		}
	}
}

// noteExpired records when a certificate that was refused for its dates expired.
func noteExpired(err error, o *health.Observation) {
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		o.CertExpires = invalid.Cert.NotAfter
	}
}
