package mail

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"mirrorpool/config"
	"mirrorpool/testdata/testbed"
)

// TestRefusedForNow: a recipient that the server does not take for now holds up no other mail, and after a day the team
// gets the mail in its place.
func TestRefusedForNow(t *testing.T) {
	t.Parallel()
	box := testbed.NewMailbox(t, "")
	box.Reject("ops@example.net", "450 4.1.2 <ops@example.net>: Recipient address rejected: Domain not found")
	b := newBedOver(t, box)
	c := b.o.Config
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

// TestOrder: that a mirror serves again reaches its operators after that it did not, however long either is refused.
func TestOrder(t *testing.T) {
	t.Parallel()
	box := testbed.NewMailbox(t, "")
	box.Reject("ops@example.net", "450 4.2.0 greylisted")
	b := newBedOver(t, box)
	b.pass(t, 125, true)
	b.pass(t, 35, false)
	box.Reject("ops@example.net", "")
	b.pass(t, 60, false)
	mails := box.Mails()
	if len(mails) != 3 || headerOf(mails[1], "Subject") != "[mirrorpool] m1.example.net: down" ||
		headerOf(mails[2], "Subject") != "[mirrorpool] m1.example.net: serves again" {
		t.Errorf("%v", mails)
	}
}

// TestClientRefused: while the server refuses this host, all mail waits.
func TestClientRefused(t *testing.T) {
	t.Parallel()
	for command, answer := range map[string]string{"MAIL": "530 5.7.0 Must issue a STARTTLS command first",
		"RCPT": "554 5.7.1 Client host rejected"} {
		box := testbed.NewMailbox(t, "")
		box.Answer(command, answer)
		b := newBedOver(t, box)
		c := b.o.Config
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
	b := newBedOver(t, box)
	c := b.o.Config
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

// TestRecipientsNow: a mail that has waited goes to the recipients by the configuration and the list of now.
func TestRecipientsNow(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		config  func(*config.Mail)
		mirrors func([]Mirror) []Mirror
		to, why string
	}{
		"nothing has changed": {to: "ops@example.net team@example.org"},
		"operators off":       {config: func(c *config.Mail) { c.Operators = false }, to: "team@example.org", why: "mail.operators is false"},
		"another team":        {config: func(c *config.Mail) { c.Team = "new@example.org" }, to: "ops@example.net new@example.org"},
		"both": {config: func(c *config.Mail) { c.Operators, c.Team = false, "new@example.org" }, to: "new@example.org",
			why: "mail.operators is false"},
		"drained": {mirrors: func(list []Mirror) []Mirror {
			list[0].Drained = true
			return list
		}, to: "team@example.org", why: "the mirror is drained"},
		"removed": {mirrors: func([]Mirror) []Mirror { return nil }, to: "team@example.org", why: "the mirror is no longer"},
		"another address": {mirrors: func(list []Mirror) []Mirror {
			list[0].Email = "new@example.net"
			return list
		}, to: "new@example.net team@example.org"},
		"no address": {mirrors: func(list []Mirror) []Mirror {
			list[0].Email = ""
			return list
		}, to: "team@example.org", why: "no address"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			box := testbed.NewMailbox(t, "")
			b := newBedOver(t, box)
			c := b.o.Config
			box.SetDown(true)
			b.pass(t, 125, true)
			if test.config != nil {
				changed := *c
				c = &changed
				test.config(c)
			}
			b.SetConfig(c)
			b.mirrors = test.mirrors
			if s := b.Status(); len(s.Waiting) != 2 || strings.TrimSpace(s.Waiting[1].To+" "+s.Waiting[1].Cc) != test.to {
				t.Errorf("mail --dry-run shows %+v", s.Waiting)
			}
			box.SetDown(false)
			b.pass(t, 1, true)
			mails := box.Mails()
			if len(mails) != 2 || mails[0].To[0] != c.Team || strings.Join(mails[1].To, " ") != test.to {
				t.Fatalf("want the second to %s: %+v", test.to, mails)
			}
			if strings.Contains(mails[1].Text, "This mail was not sent to ops@example.net: ") != (test.why != "") ||
				!strings.Contains(mails[1].Text, test.why) {
				t.Errorf("want %q in\n%s", test.why, mails[1].Text)
			}
		})
	}
}

// TestStarting: before anything is known of the mirrors, what waits is neither sent nor readdressed.
func TestStarting(t *testing.T) {
	t.Parallel()
	box := testbed.NewMailbox(t, "")
	b := newBedOver(t, box)
	box.SetDown(true)
	b.pass(t, 125, true)
	box.SetDown(false)
	known := b.o.View
	b.o.View = func(time.Time) View { return View{Now: b.now, Starting: true, Quiet: "starting"} }
	b.Mailer = New(b.o)
	b.pass(t, 2, true)
	if s := b.Status(); len(box.Mails()) != 0 || len(s.Waiting) != 2 || s.Waiting[1].To != "ops@example.net" {
		t.Fatalf("%+v, %+v", box.Mails(), s)
	}
	b.o.View = known
	b.Mailer = New(b.o)
	b.pass(t, 1, true)
	if mails := box.Mails(); len(mails) != 2 || mails[1].To[0] != "ops@example.net" {
		t.Errorf("%+v", mails)
	}
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
