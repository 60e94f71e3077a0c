package mail

import (
	"context"
	"errors"
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

// A bed is a Mailer whose clock and mirror a test sets.
type bed struct {
	*Mailer
	now     time.Time
	ledger  *ledger.Ledger
	o       Options
	mirrors func([]Mirror) []Mirror // what becomes of the list of mirrors; nil: nothing
}

const bedMirror = "https://m1.example.net/"

func newBed(t *testing.T, c *config.Mail, send func(context.Context, *config.Mail, *Message) error) *bed {
	t.Helper()
	b := &bed{now: epoch, ledger: ledger.New()}
	b.o = Options{Config: c, File: filepath.Join(t.TempDir(), "mail"), Send: send, Log: zap.NewNop(), View: func(since time.Time) View {
		s, _ := b.ledger.Summary(bedMirror, since, b.now)
		view := View{Now: b.now, Mirrors: []Mirror{{URLPrefix: bedMirror, Email: "ops@example.net", Incidents: s.Incidents}}}
		if b.mirrors != nil {
			view.Mirrors = b.mirrors(view.Mirrors)
		}
		return view
	}}
	b.Mailer = New(b.o)
	return b
}

// pass lets minutes pass in which the mirror is down, or not.
func (b *bed) pass(t *testing.T, minutes int, down bool) {
	t.Helper()
	for range minutes {
		b.now = b.now.Add(time.Minute)
		problems := map[string][]ledger.Problem{bedMirror: nil}
		if down {
			problems[bedMirror] = []ledger.Problem{{Kind: ledger.Down, Reason: "connect: timed out\r\nBcc: x@example.org", Noticed: "check"}}
		}
		b.ledger.Note(problems, b.now, testSettle)
		b.step(t.Context())
	}
}

// TestOutageOverSMTP has an outage of 3 h, with a server that is away for a part of it.
func TestOutageOverSMTP(t *testing.T) {
	t.Parallel()
	box := testbed.NewMailbox(t, "")
	c := testConfig()
	c.Server = box.Addr
	b := newBed(t, c, nil)
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
	c := testConfig()
	c.Server = box.Addr
	b := newBed(t, c, nil)
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
