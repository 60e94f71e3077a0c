package health

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"time"
)

// certWarnDays is from how many days before its end a certificate is warned of.
const certWarnDays = 14

// noteCertificate records when the first certificate of a verified chain expires.
func noteCertificate(state *tls.ConnectionState, o *Observation) {
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
func noteExpired(err error, o *Observation) {
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		o.CertExpires = invalid.Cert.NotAfter
	}
}

// CertDays returns how many whole days the certificate is valid for at now, negative once it has expired. ok
// is false if no certificate was seen.
func (v *Verdict) CertDays(now time.Time) (days int, ok bool) {
	if v.CertExpires.IsZero() {
		return 0, false
	}
	return int(math.Floor(v.CertExpires.Sub(now).Hours() / 24)), true
}

// CertWarning says that the certificate ends soon, or returns "".
func (v *Verdict) CertWarning(now time.Time) string {
	days, ok := v.CertDays(now)
	switch {
	case !ok || days >= certWarnDays:
		return ""
	case days < 0:
		return fmt.Sprintf("certificate expired on %s", v.CertExpires.UTC().Format(time.DateOnly))
	default:
		return fmt.Sprintf("certificate expires on %s, in %d days", v.CertExpires.UTC().Format(time.DateOnly), days)
	}
}
