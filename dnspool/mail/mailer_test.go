package mail

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/health/ledger"
	"mirrorpool/testdata/testbed"
)

// A bed is a Mailer whose clock and mirrors a test sets.
type bed struct {
	*Mailer
	now     time.Time
	ledger  *ledger.Ledger
	o       Options
	names   []string                // url_prefixes
	mirrors func([]Mirror) []Mirror // what becomes of the list of mirrors; nil: nothing
}

const bedMirror = "https://m1.example.net/"

func newBed(t *testing.T, c *config.Mail, send func(context.Context, *config.Mail, *Message) error) *bed {
	t.Helper()
	b := &bed{now: epoch, ledger: ledger.New(), names: []string{bedMirror}}
	b.o = Options{Config: c, File: filepath.Join(t.TempDir(), "mail"), Send: send, Log: zap.NewNop(), View: func(since time.Time) View {
		view := View{Now: b.now}
		for _, name := range b.names {
			s, _ := b.ledger.Summary(name, since, b.now)
			view.Mirrors = append(view.Mirrors, Mirror{URLPrefix: name, Email: "ops@example.net", First: s.First, Incidents: s.Incidents})
		}
		if b.mirrors != nil {
			view.Mirrors = b.mirrors(view.Mirrors)
		}
		return view
	}}
	b.Mailer = New(b.o)
	return b
}

// newBedOver returns a bed whose mail goes to a real server.
func newBedOver(t *testing.T, box *testbed.Mailbox) *bed {
	t.Helper()
	c := testConfig()
	c.Server = box.Addr
	return newBed(t, c, nil)
}

// pass lets minutes pass in which all mirrors are down, or not.
func (b *bed) pass(t *testing.T, minutes int, down bool) {
	t.Helper()
	var problems []ledger.Problem
	if down {
		problems = []ledger.Problem{{Kind: ledger.Down, Reason: "connect: timed out\r\nBcc: x@example.org", Noticed: "check"}}
	}
	b.play(t, minutes, problems)
}

// play lets minutes pass in which all mirrors have some problems.
func (b *bed) play(t *testing.T, minutes int, problems []ledger.Problem) {
	t.Helper()
	for range minutes {
		b.now = b.now.Add(time.Minute)
		all := map[string][]ledger.Problem{}
		for _, name := range b.names {
			all[name] = problems
		}
		b.ledger.Note(all, b.now, testSettle)
		b.step(t.Context())
	}
}

// subjectsOf counts the mails that an SMTP server got, by subject.
func subjectsOf(box *testbed.Mailbox) map[string]int {
	count := map[string]int{}
	for _, m := range box.Mails() {
		count[headerOf(m, "Subject")]++
	}
	return count
}

// TestFewMails: neither a mirror that flaps nor a fault of our network floods the team, over SMTP.
func TestFewMails(t *testing.T) {
	t.Parallel()
	down := []ledger.Problem{{Kind: ledger.Down, Noticed: "check"}}
	doubted := []ledger.Problem{{Kind: ledger.Down, Noticed: "check", Doubted: true}}
	for name, test := range map[string]struct {
		mirrors int
		play    func(*testing.T, *bed)
		want    map[string]int
	}{
		"200 flaps": {1, func(t *testing.T, b *bed) {
			for range 200 {
				b.play(t, 2, down)
				b.play(t, 2, nil)
			}
		}, map[string]int{"[mirrorpool] m0.example.net: down": 1, "[mirrorpool] m0.example.net: serves again": 1}},
		"our network": {10, func(t *testing.T, b *bed) { b.play(t, 10*60, doubted) }, map[string]int{}},
		"our network, noticed late": {10, func(t *testing.T, b *bed) {
			b.play(t, 2, down)
			b.play(t, 10*60, doubted)
		}, map[string]int{}},
		"two mirrors": {2, func(t *testing.T, b *bed) { b.play(t, 90, down) }, map[string]int{
			"[mirrorpool] m0.example.net: down": 1, "[mirrorpool] m0.example.net: serves again": 1,
			"[mirrorpool] m1.example.net: down": 1, "[mirrorpool] m1.example.net: serves again": 1,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			box := testbed.NewMailbox(t, "")
			c := testConfig()
			c.Server, c.Operators = box.Addr, false
			b := newBed(t, c, nil)
			b.names = nil
			for k := range test.mirrors {
				b.names = append(b.names, fmt.Sprintf("https://m%d.example.net/", k))
			}
			b.pass(t, 10, false)
			test.play(t, b)
			b.pass(t, 60, false)
			if got := subjectsOf(box); !maps.Equal(got, test.want) {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}

// TestEachKind: in two days, each kind of mail is sent once: "down" to the team and to the operators.
func TestEachKind(t *testing.T) {
	t.Parallel()
	box := testbed.NewMailbox(t, "")
	c := testConfig()
	c.Server, c.Digest = box.Addr, 9*time.Hour
	b := newBed(t, c, nil)
	b.pass(t, 10, false)
	b.pass(t, 180, true)
	b.pass(t, 60, false)
	b.pass(t, 10, true) // for the digest
	b.mirrors = func(list []Mirror) []Mirror {
		list[0].CertExpires = epoch.Add(15 * 24 * time.Hour) // a mail a day later, when the mirror may begin another thread
		return list
	}
	b.pass(t, 2*24*60, false)
	if err := b.Test(t.Context()); err != nil {
		t.Error(err)
	}
	want := map[string]int{
		"[mirrorpool] a test": 1, "[mirrorpool] m1.example.net: down": 2, "[mirrorpool] m1.example.net: serves again": 1,
		"[mirrorpool] m1.example.net: certificate ends in 13 days": 1, "[mirrorpool] mirrors, 1 March 2026": 1,
	}
	if got := subjectsOf(box); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestOutageOverSMTP has an outage of 3 h, with a server that is away for a part of it.
func TestOutageOverSMTP(t *testing.T) {
	t.Parallel()
	box := testbed.NewMailbox(t, "")
	b := newBedOver(t, box)
	box.SetDown(true)
	b.pass(t, 90, true)
	if s := b.Status(); len(box.Mails()) != 0 || len(s.Waiting) != 1 || !strings.Contains(s.Problem, "cannot send mail over 127.0.0.1:") {
		t.Fatalf("with the server away: %d mails, %+v", len(box.Mails()), s)
	}
	b.Mailer = New(b.o) // a restart
	box.SetDown(false)
	b.pass(t, 90, true)
	b.pass(t, 30, false)
	mails := box.Mails()
	if len(mails) != 3 {
		t.Fatalf("%d mails, want 3: %+v", len(mails), mails)
	}
	first := headerOf(mails[0], "Message-ID")
	for i, want := range []struct{ to, header string }{
		{"team@example.org", "Subject: [mirrorpool] m1.example.net: down"},
		{"ops@example.net team@example.org", "Reply-To: <team@example.org>"},
		{"ops@example.net team@example.org", "Subject: [mirrorpool] m1.example.net: serves again"},
	} {
		m := mails[i]
		if got := strings.Join(m.To, " "); got != want.to || !strings.Contains(m.Text, want.header) ||
			headerOf(m, "Auto-Submitted") != "auto-generated" || headerOf(m, "From") != "<mirrorpool@example.org>" {
			t.Errorf("mail %d, to %s, want %s, and %q in\n%s", i, got, want.to, want.header, m.Text)
		}
		if i > 0 && (headerOf(m, "References") != first || headerOf(m, "In-Reply-To") != first) {
			t.Errorf("mail %d is not in the thread of %s:\n%s", i, first, m.Text)
		}
		if headerOf(m, "Bcc") != "" {
			t.Errorf("mail %d: a reason has become a header:\n%s", i, m.Text)
		}
	}
	if s := b.Status(); len(s.Waiting) != 0 || s.Problem != "" {
		t.Errorf("at the end: %+v", s)
	}
}

// headerOf returns a field of a mail's header.
func headerOf(m testbed.Mail, name string) string {
	header, _, _ := strings.Cut(m.Text, "\n\n")
	for line := range strings.Lines(header) {
		if value, ok := strings.CutPrefix(line, name+": "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// TestRejected: a mail that the server will never take goes to the team alone; what is wrong for now is tried again.
func TestRejected(t *testing.T) {
	t.Parallel()
	box := testbed.NewMailbox(t, "")
	box.Reject("ops@example.net", "550 5.1.1 no such user")
	b := newBedOver(t, box)
	b.pass(t, 125, true)
	mails := box.Mails()
	if len(mails) != 2 || strings.Join(mails[1].To, " ") != "team@example.org" ||
		!strings.Contains(mails[1].Text, "This mail could not be sent to ops@example.net") {
		t.Fatalf("%+v", mails)
	}
	box.Reject("team@example.org", "451 greylisted")
	b.pass(t, 30, false)
	if s := b.Status(); len(s.Waiting) != 1 {
		t.Fatalf("greylisted: %+v", s)
	}
	box.Reject("team@example.org", "")
	box.Reject("ops@example.net", "")
	b.pass(t, 60, false)
	if mails := box.Mails(); len(mails) != 3 {
		t.Errorf("%d mails, want the last one, too", len(mails))
	}
}

// TestStopsBetween: a server that is asked to end keeps what was not sent.
func TestStopsBetween(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	b := newBed(t, testConfig(), func(ctx context.Context, _ *config.Mail, _ *Message) error {
		cancel()
		return errors.New("interrupted")
	})
	b.ledger.Note(map[string][]ledger.Problem{bedMirror: {{Kind: ledger.Down}}}, b.now, testSettle)
	b.now = b.now.Add(time.Hour)
	b.ledger.Note(map[string][]ledger.Problem{bedMirror: {{Kind: ledger.Down}}}, b.now, testSettle)
	b.step(ctx)
	if s := b.Status(); len(s.Waiting) != 1 || s.Problem != "" {
		t.Errorf("%+v", s)
	}
	if s := New(b.o).Status(); len(s.Waiting) != 1 {
		t.Errorf("after a restart: %+v", s)
	}
	b.SetConfig(nil)
	if err := b.Test(t.Context()); err == nil || !strings.Contains(err.Error(), "not configured") {
		t.Errorf("without a configuration: %v", err)
	}
	if err := os.WriteFile(b.o.File, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s := New(b.o).Status(); len(s.Waiting) != 0 {
		t.Errorf("with a damaged file: %+v", s)
	}
}
