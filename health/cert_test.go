package health

import (
	"testing"
	"time"
)

func TestCertWarning(t *testing.T) {
	day := 24 * time.Hour
	for _, test := range []struct {
		left time.Duration
		days int
		want string
	}{
		{15 * day, 15, ""},
		{14 * day, 14, ""},
		{14*day - time.Second, 13, "certificate expires on 2026-03-15, in 13 days"},
		{time.Hour, 0, "certificate expires on 2026-03-01, in 0 days"},
		{-time.Hour, -1, "certificate expired on 2026-03-01"},
	} {
		v := Verdict{CertExpires: epoch.Add(test.left)}
		days, ok := v.CertDays(epoch)
		if got := v.CertWarning(epoch); got != test.want || days != test.days || !ok {
			t.Errorf("%v left: %d days, %q, want %d, %q", test.left, days, got, test.days, test.want)
		}
	}
	v := Verdict{}
	if days, ok := v.CertDays(epoch); ok || v.CertWarning(epoch) != "" {
		t.Errorf("without a certificate: %d days, warning %q", days, v.CertWarning(epoch))
	}
}
