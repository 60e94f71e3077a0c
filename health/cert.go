package health

import (
	"fmt"
	"math"
	"time"
)

// CertWarnDays is how many days before a certificate expires the warnings begin.
const CertWarnDays = 14

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
	case !ok || days >= CertWarnDays:
		return ""
	case days < 0:
		return fmt.Sprintf("certificate expired on %s", v.CertExpires.UTC().Format(time.DateOnly))
	default:
		return fmt.Sprintf("certificate expires on %s, in %d days", v.CertExpires.UTC().Format(time.DateOnly), days)
	}
}
