package mail

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mirrorpool/testdata/testbed"
)

// TestScopes: a refusal stops one mail or all of them, for now or for good, by what the server has refused.
func TestScopes(t *testing.T) {
	t.Parallel()
	const sent scope = -1
	for name, test := range map[string]struct {
		command, answer string // or:
		reject          map[string]string
		alone           bool // to the team
		want            scope
		mails           string // recipients of each
	}{
		"taken":                       {want: sent, mails: "ops@example.net team@example.org"},
		"taken by the team":           {alone: true, want: sent, mails: "team@example.org"},
		"HELO alone":                  {command: "EHLO", answer: "502 no", want: sent, mails: "ops@example.net team@example.org"},
		"TLS first":                   {command: "MAIL", answer: "530 5.7.0 Must issue a STARTTLS command first", want: allMails},
		"sender":                      {command: "MAIL", answer: "550 5.7.1 no", want: allMails},
		"greylisted":                  {reject: map[string]string{"ops@example.net": "450 4.2.0 wait"}, want: thisMail},
		"no such user":                {reject: map[string]string{"ops@example.net": "550 5.1.1 no"}, want: forGood},
		"client, at the recipient":    {command: "RCPT", answer: "554 5.7.1 Client host rejected", want: thisMail},
		"login, at the recipient":     {reject: map[string]string{"ops@example.net": "530 5.7.0 login"}, want: thisMail},
		"team":                        {reject: map[string]string{"team@example.org": "550 no"}, want: copyOnly, mails: "ops@example.net"},
		"team, for now":               {reject: map[string]string{"team@example.org": "450 no"}, want: copyOnly, mails: "ops@example.net"},
		"team, alone":                 {reject: map[string]string{"team@example.org": "550 no"}, alone: true, want: thisMail},
		"data":                        {command: "DATA", answer: "451 4.3.0 no space", want: thisMail},
		"login, at the data":          {command: "DATA", answer: "530 login", want: thisMail},
		"end of the data":             {command: ".", answer: "451 4.7.1 scanner away", want: thisMail},
		"end of the data, for good":   {command: ".", answer: "554 5.7.1 spam", want: forGood},
		"whatever follows the data":   {command: "QUIT", answer: "421 bye", want: sent, mails: "ops@example.net team@example.org"},
		"what the session never asks": {command: "VRFY", answer: "502 no", want: sent, mails: "ops@example.net team@example.org"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			box := testbed.NewMailbox(t, "")
			box.Answer(test.command, test.answer)
			for recipient, answer := range test.reject {
				box.Reject(recipient, answer)
			}
			c := testConfig()
			c.Server = box.Addr
			m := &Message{ID: "a@b", To: "ops@example.net", Cc: c.Team, Subject: "s", Text: "t"}
			if test.alone {
				m.To, m.Cc = c.Team, ""
			}
			err := Send(t.Context(), c, m)
			if got := scopeOf(err); (err == nil) != (test.want == sent) || err != nil && got != test.want {
				t.Errorf("scope %d, want %d: %v", got, test.want, err)
			}
			var mails []string
			for _, got := range box.Mails() {
				mails = append(mails, strings.Join(got.To, " "))
			}
			if got := strings.Join(mails, "|"); got != test.mails {
				t.Errorf("delivered to %q, want %q", got, test.mails)
			}
		})
	}
}

// TestSendStops: wherever a server hangs, sending ends with its context.
func TestSendStops(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"", "EHLO", "AUTH", "MAIL", "RCPT", "DATA", ".", "QUIT", "TLS"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			box := testbed.NewMailbox(t, "\x00user\x00hunter2")
			c := testConfig()
			c.Server, c.LoginFile = box.Addr, loginFile(t)
			c.TLS = at == "TLS" // a server that waits for a command, while the client begins a handshake
			hung := box.Hang(strings.TrimPrefix(at, "TLS"))
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				<-hung
				cancel()
			}()
			begin := time.Now()
			err := Send(ctx, c, &Message{ID: "a@b", To: c.Team, Subject: "s", Text: "t"})
			if took := time.Since(begin); took > sendTime/2 {
				t.Errorf("it took %v: %v", took, err)
			}
			if at != "QUIT" && !errors.Is(err, context.Canceled) || at == "QUIT" && err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSMTPS logs in over TLS from the first byte, if the server's certificate is good. The roots of the system are read
// once in a process, from SSL_CERT_FILE; so the client is a process of its own.
func TestSMTPS(t *testing.T) {
	t.Parallel()
	c := testConfig()
	c.TLS = true
	m := &Message{ID: "a@b", To: c.Team, Subject: "s", Text: "t"}
	const name = "MAIL_TEST_SERVER"
	if server := os.Getenv(name); server != "" {
		c.Server, c.LoginFile = server, loginFile(t)
		if err := Send(t.Context(), c, m); err != nil {
			t.Error(err)
		}
		return
	}
	authority := testbed.NewAuthority(t)
	certificate := authority.Issue(t, "mail.example.org", time.Now().Add(time.Hour), netip.MustParseAddr("127.0.0.1"))
	box := testbed.NewTLSMailbox(t, "\x00user\x00hunter2", certificate)
	client := exec.Command(os.Args[0], "-test.run=^TestSMTPS$")
	client.Env = append(os.Environ(), name+"="+box.Addr, "SSL_CERT_FILE="+authority.File(t))
	if out, err := client.CombinedOutput(); err != nil || len(box.Mails()) != 1 {
		t.Errorf("%d mails: %v\n%s", len(box.Mails()), err, out)
	}
	c.Server = box.Addr
	if err := Send(t.Context(), c, m); err == nil || !strings.Contains(err.Error(), "certificate") || scopeOf(err) != allMails {
		t.Errorf("a certificate of an unknown authority: %v", err)
	}
}

// TestSendCause: the error says why a session was cut short, and not that its connection is closed.
func TestSendCause(t *testing.T) {
	t.Parallel()
	box := testbed.NewMailbox(t, "")
	c := testConfig()
	c.Server = box.Addr
	hung := box.Hang("DATA")
	limit := errors.New("not done within 30s")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		<-hung
		cancel(limit)
	}()
	err := Send(ctx, c, &Message{ID: "a@b", To: c.Team, Subject: "s", Text: "t"})
	if want := fmt.Sprintf("cannot send mail over %s: not done within 30s", box.Addr); err == nil || err.Error() != want || scopeOf(err) != thisMail {
		t.Errorf("%v, want %s", err, want)
	}
}

// TestReadLogin takes a password only from a file that its owner alone may read.
func TestReadLogin(t *testing.T) {
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
}

// TestLogin: a password is sent only over TLS or on this host, and shown in no error.
func TestLogin(t *testing.T) {
	t.Parallel()
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
