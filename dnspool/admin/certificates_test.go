package admin

import (
	"testing"
	"time"
)

// TestCertificateTrouble has a certificate missing, overdue and expired.
func TestCertificateTrouble(t *testing.T) {
	t.Parallel()
	end := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	const name = "download.example.org"
	for _, test := range []struct {
		c    CertificateStatus
		now  time.Time
		want string
	}{
		{CertificateStatus{Name: name, Expires: &end}, end.Add(-50 * 24 * time.Hour), ""},
		{CertificateStatus{Name: name, Problem: "x: y"}, end, "There is no certificate by ACME for download.example.org yet: x: y"},
		{CertificateStatus{Name: name, Expires: &end, Soon: true}, end.Add(-time.Hour),
			"The redirector's certificate for download.example.org ends at 2026-11-29 12:00 UTC, and has not been renewed."},
		{CertificateStatus{Name: name, Expires: &end, Soon: true, Problem: "x: y"}, end,
			"The redirector's certificate for download.example.org has ended at 2026-11-29 12:00 UTC; clients refuse it: x: y"},
	} {
		if got := test.c.Trouble(test.now); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}
