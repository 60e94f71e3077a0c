package mail

import (
	"strings"
	"testing"
	"time"
)

// TestOwnCertificates follows a certificate that is not renewed, and one that is.
func TestOwnCertificates(t *testing.T) {
	t.Parallel()
	until := epoch.Add(14 * 24 * time.Hour)
	m, c := newMemory(), testConfig()
	var subjects []string
	for hour := range 16 * 24 {
		v := &View{Now: epoch.Add(time.Duration(hour) * time.Hour), Zone: "dl.example.org", Quiet: "the pool is in panic",
			Certificates: []Certificate{{"download.example.org", until, "dns-01: the authority is down"}}}
		var messages []Message
		messages, m = m.plan(c, v)
		for _, message := range messages {
			subjects = append(subjects, message.Subject)
			if message.To != c.Team || message.Cc != "" || !strings.Contains(message.Text, "the authority is down") {
				t.Errorf("%+v", message)
			}
		}
	}
	const head = "[dl.example.org] certificate for download.example.org "
	want := []string{head + "ends in 14 days", head + "ends in 7 days", head + "ends in 2 days"}
	if strings.Join(subjects, "|") != strings.Join(want, "|") {
		t.Errorf("got  %q\nwant %q", subjects, want)
	}
	// Once it is renewed, the next one begins anew.
	_, m = m.plan(c, &View{Now: until})
	if len(m.Certs) != 0 {
		t.Errorf("marks after the renewal: %v", m.Certs)
	}
}
