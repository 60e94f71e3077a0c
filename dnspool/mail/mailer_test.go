package mail

import (
	"context"
	"errors"
	"fmt"
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
	now    time.Time
	ledger *ledger.Ledger
	o      Options
}

const bedMirror = "https://m1.example.net/"

func newBed(t *testing.T, c *config.Mail, send func(context.Context, *config.Mail, *Message) error) *bed {
	t.Helper()
	b := &bed{now: epoch, ledger: ledger.New()}
	b.o = Options{Config: c, File: filepath.Join(t.TempDir(), "mail"), Send: send, Log: zap.NewNop(), View: func(since time.Time) View {
		s, _ := b.ledger.Summary(bedMirror, since, b.now)
		return View{Now: b.now, Mirrors: []Mirror{{URLPrefix: bedMirror, Email: "ops@example.net", Incidents: s.Incidents}}}
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

// TestRefusedForNow: a recipient that the server does not take for now holds up no other mail, and after a day the team
// gets the mail in its place.
func TestRefusedForNow(t *testing.T) {
	t.Parallel()
	box := testbed.NewMailbox(t, "")
	box.Reject("ops@example.net", "450 4.1.2 <ops@example.net>: Recipient address rejected: Domain not found")
	c := testConfig()
	c.Server = box.Addr
	b := newBed(t, c, nil)
	b.pass(t, 130, true)
	b.pass(t, 20*60, false)
	if n := len(box.Mails()); n != 1 {
		t.Errorf("%d mails within a day, want the one to the team", n)
	}
	b.Mailer = New(b.o) // a restart, which forgets nothing
	b.pass(t, 5*60, false)
	b.pass(t, 65, true) // the next outage
	mails := box.Mails()
	for i, want := range []string{"m1.example.net: down\n", "could not be sent to ops@example.net", "could not be sent to ops@example.net",
		"m1.example.net: down\n"} {
		if len(mails) <= i || !strings.Contains(mails[i].Text, want) || strings.Join(mails[i].To, " ") != c.Team {
			t.Fatalf("mail %d of %+v, want %s", i, mails, want)
		}
	}
	if s := b.Status(); len(mails) != 4 || len(s.Waiting) != 0 {
		t.Errorf("%d mails, %+v", len(mails), s)
	}
}

// TestClientRefused: while the server refuses this host, all mail waits.
func TestClientRefused(t *testing.T) {
	t.Parallel()
	for command, answer := range map[string]string{"MAIL": "530 5.7.0 Must issue a STARTTLS command first",
		"RCPT": "554 5.7.1 Client host rejected"} {
		box := testbed.NewMailbox(t, "")
		box.Answer(command, answer)
		c := testConfig()
		c.Server = box.Addr
		b := newBed(t, c, nil)
		b.pass(t, 180, true)
		if s := b.Status(); len(s.Waiting) != 2 || !strings.Contains(s.Problem, answer[4:]) {
			t.Fatalf("%s: %+v", command, s)
		}
		box.Answer(command, "")
		b.SetConfig(c) // a reload has it tried at once
		b.pass(t, 1, true)
		if mails := box.Mails(); len(mails) != 2 || strings.Join(mails[1].To, " ") != "ops@example.net team@example.org" {
			t.Errorf("%s: %+v", command, mails)
		}
	}
}

// TestCopyRefused: where the server does not take the team's copy, the operators get the mail nevertheless, once.
func TestCopyRefused(t *testing.T) {
	t.Parallel()
	box := testbed.NewMailbox(t, "")
	c := testConfig()
	c.Server = box.Addr
	b := newBed(t, c, nil)
	b.pass(t, 70, true)
	box.Reject(c.Team, "550 5.2.2 mailbox full")
	b.pass(t, 120, true)
	if mails := box.Mails(); len(mails) != 2 || strings.Join(mails[1].To, " ") != "ops@example.net" || len(b.Status().Waiting) != 1 {
		t.Fatalf("%+v, %+v", mails, b.Status())
	}
	box.Reject(c.Team, "")
	b.pass(t, 60, true)
	mails := box.Mails()
	if len(mails) != 3 || strings.Join(mails[2].To, " ") != c.Team || !strings.Contains(mails[2].Text, "This is the copy of a mail to ops@example.net.") {
		t.Errorf("%+v", mails)
	}
}

// TestLogin: a password is sent only over TLS, and only from a file that its owner alone may read.
func TestLogin(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "login")
	for name, test := range map[string]struct {
		text string
		mode os.FileMode
		want string
	}{
		"good":       {"user\nhunter2\n", 0o600, ""},
		"one line":   {"user hunter2\n", 0o600, "want the user in the first line and the password in the second"},
		"for others": {"user\nhunter2\n", 0o644, "other users can read or change it"},
	} {
		if err := os.WriteFile(file, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, test.mode); err != nil {
			t.Fatal(err)
		}
		user, password, err := readLogin(file)
		if test.want == "" && (err != nil || user != "user" || password != "hunter2") {
			t.Errorf("%s: %q, %q, %v", name, user, password, err)
		}
		if test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
	c := testConfig()
	c.LoginFile = loginFile(t)
	box := testbed.NewMailbox(t, "") // without TLS and without a login
	c.Server = box.Addr
	m := &Message{ID: "a@b", To: c.Team, Subject: "s", Text: "t"}
	if err := Send(t.Context(), c, m); err == nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "login_file") {
		t.Errorf("a server without a login: %v", err)
	}
	c.Server = testbed.NewMailbox(t, "\x00user\x00hunter2").Addr
	if err := Send(t.Context(), c, m); err != nil {
		t.Errorf("the right password: %v", err)
	}
	c.Server = testbed.NewMailbox(t, "\x00user\x00hunter3").Addr
	if err := Send(t.Context(), c, m); err == nil || strings.Contains(err.Error(), "hunter") {
		t.Errorf("a wrong password: %v", err)
	}
	box = testbed.NewMailbox(t, "")
	box.SetRude()
	c.Server, c.LoginFile = box.Addr, ""
	if err := Send(t.Context(), c, m); err != nil || len(box.Mails()) != 1 {
		t.Errorf("a server that takes the mail and leaves: %v, %d mails", err, len(box.Mails()))
	}
	c.TLS = true
	if err := Send(t.Context(), c, m); err == nil || strings.Contains(err.Error(), "hunter") {
		t.Errorf("a server that does not speak TLS: %v", err)
	}
}

// loginFile writes a login_file.
func loginFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "login")
	if err := os.WriteFile(file, []byte("user\nhunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestQueue is bounded in number and in time, and retries ever more slowly.
func TestQueue(t *testing.T) {
	t.Parallel()
	s := state{}
	for k := range maxQueue + 10 {
		s.add([]Message{{ID: fmt.Sprint(k), Planned: epoch.Add(time.Duration(k) * time.Minute)}})
	}
	now := epoch.Add((maxQueue + 10) * time.Minute)
	if dropped := s.bound(now); dropped != 10 || s.Queue[0].ID != "10" {
		t.Errorf("%d dropped, the first is %s", dropped, s.Queue[0].ID)
	}
	if s.bound(now.Add(2 * maxWait)); len(s.Queue) != 0 {
		t.Errorf("%d wait after two weeks", len(s.Queue))
	}
	for failures, want := range map[int]time.Duration{1: time.Minute, 2: 2 * time.Minute, 6: 32 * time.Minute, 7: time.Hour, 1000: time.Hour} {
		if got := pause(failures); got != want {
			t.Errorf("after %d failures: %v, want %v", failures, got, want)
		}
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
