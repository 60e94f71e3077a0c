package mail

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"mirrorpool/config"
	"mirrorpool/health/ledger"
)

const testSettle = 5 * time.Minute

var epoch = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

func testConfig() *config.Mail {
	return &config.Mail{Server: "localhost:25", From: "mirrorpool@example.org", Team: "team@example.org", Operators: true,
		After: time.Hour, Digest: -1}
}

// A trial plays minutes of a pool of some mirrors, and gathers what is sent.
type trial struct {
	config  *config.Mail
	ledger  *ledger.Ledger
	memory  memory
	minute  int
	mirrors int
	quiet   string
	starts  bool // nothing is known of the mirrors
	drained bool
	expires time.Time
	sent    []Message
}

func newTrial() *trial {
	return &trial{config: testConfig(), ledger: ledger.New(), memory: newMemory(), mirrors: 1}
}

// play plays minutes in which all mirrors have a problem, or none: "" for none, "doubted" for one that may be this
// host's.
func (tr *trial) play(minutes int, kind ledger.Kind, doubted bool) {
	for range minutes {
		now := epoch.Add(time.Duration(tr.minute) * time.Minute)
		tr.minute++
		problems := map[string][]ledger.Problem{}
		for k := range tr.mirrors {
			prefix := fmt.Sprintf("https://m%d.example.net/", k)
			problems[prefix] = nil
			if kind != "" {
				problems[prefix] = []ledger.Problem{{Kind: kind, Where: "http 192.0.2.1", Reason: "connect: timed out", Noticed: "check",
					Doubted: doubted}}
			}
		}
		tr.ledger.Note(problems, now, testSettle)
		view := &View{Now: now, Zone: "dl.example.org", Quiet: tr.quiet, Starting: tr.starts}
		for k := range tr.mirrors {
			if tr.starts {
				break
			}
			prefix := fmt.Sprintf("https://m%d.example.net/", k)
			s, _ := tr.ledger.Summary(prefix, tr.memory.since(), now)
			view.Mirrors = append(view.Mirrors, Mirror{URLPrefix: prefix, Email: "ops@example.net", Drained: tr.drained, First: s.First,
				Incidents: s.Incidents, CertExpires: tr.expires, Commands: []string{"curl -v 'https://m.example.net/'"}})
		}
		messages, next := tr.memory.plan(tr.config, view)
		tr.memory = next
		tr.sent = append(tr.sent, messages...)
	}
}

// subjects writes the mails as "RECIPIENT SUBJECT", without the pool and the mirror.
func (tr *trial) subjects() string {
	var lines []string
	for _, m := range tr.sent {
		what := m.Subject[strings.LastIndex(m.Subject, ": ")+1:]
		lines = append(lines, strings.TrimSuffix(m.To, "@example.org")+what)
	}
	return strings.Join(lines, "|")
}

func TestPlan(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		play func(*trial)
		want string
	}{
		"all is well": {func(tr *trial) { tr.play(3*24*60, "", false) }, ""},
		"an outage of 3 h": {func(tr *trial) {
			tr.play(10, "", false)
			tr.play(180, ledger.Down, false)
			tr.play(60, "", false)
		}, "team down|ops@example.net down|ops@example.net serves again"},
		"an outage of 90 min": {func(tr *trial) {
			tr.play(90, ledger.Down, false)
			tr.play(60, "", false)
		}, "team down|team serves again"},
		"up again just before the operators' mail": {func(tr *trial) {
			tr.play(115, ledger.Down, false)
			tr.play(30, "", false)
		}, "team down|team serves again"},
		"it comes and goes when the operators' mail is due": {func(tr *trial) {
			tr.play(115, ledger.Down, false)
			tr.play(10, "", false)
			tr.play(1, ledger.Down, false)
			tr.play(30, "", false)
		}, "team down|ops@example.net down|ops@example.net serves again"},
		"a restart during an outage": {func(tr *trial) {
			tr.config.Operators = false
			tr.play(70, ledger.Down, false)
			tr.starts = true
			tr.play(2, ledger.Down, false)
			tr.starts = false
			tr.play(30, ledger.Down, false)
			tr.play(60, "", false)
		}, "team down|team serves again"},
		"a restart after the mail about a certificate": {func(tr *trial) {
			tr.config.Operators = false
			tr.expires = epoch.Add(14 * 24 * time.Hour)
			tr.play(25*60, "", false)
			tr.starts = true
			tr.play(2, "", false)
			tr.starts = false
			tr.play(25*60, "", false)
		}, "team certificate ends in 14 days"},
		"an outage of 59 min": {func(tr *trial) {
			tr.play(59, ledger.Down, false)
			tr.play(60, "", false)
		}, ""},
		"200 flaps": {func(tr *trial) {
			tr.config.Operators = false
			for range 200 {
				tr.play(2, ledger.Down, false)
				tr.play(2, "", false)
			}
			tr.play(60, "", false)
		}, "team down|team serves again"},
		"10 mirrors fail by our own fault": {func(tr *trial) {
			tr.mirrors = 10
			tr.play(5, "", false)
			tr.play(600, ledger.Down, true)
			tr.play(60, "", false)
		}, ""},
		"while in panic": {func(tr *trial) {
			tr.quiet = "panic"
			tr.play(120, ledger.Down, false)
			tr.quiet = ""
			tr.play(1, ledger.Down, false)
		}, "team down"},
		"drained": {func(tr *trial) {
			tr.drained = true
			tr.play(300, ledger.Down, false)
		}, ""},
		"drained after the first mail": {func(tr *trial) {
			tr.play(70, ledger.Down, false)
			tr.drained = true
			tr.play(300, ledger.Down, false)
			tr.play(60, "", false)
			tr.drained = false
			tr.play(1, "", false)
		}, "team down|team serves again"},
		"two outages in a day": {func(tr *trial) {
			tr.config.Operators = false
			for range 2 {
				tr.play(90, ledger.Down, false)
				tr.play(60, "", false)
			}
		}, "team down|team serves again"},
		"two outages in two days": {func(tr *trial) {
			tr.config.Operators = false
			for range 2 {
				tr.play(90, ledger.Stale, false)
				tr.play(24*60, "", false)
			}
		}, "team stale|team serves again|team stale|team serves again"},
		"unsteady": {func(tr *trial) { tr.play(300, ledger.Unsteady, false) }, ""},
		"a certificate": {func(tr *trial) {
			tr.config.Operators = false
			tr.expires = epoch.Add(16 * 24 * time.Hour)
			tr.play(20*24*60, "", false)
		}, "team certificate ends in 14 days|team certificate ends in 7 days|team certificate ends in 2 days"},
		"a certificate that is renewed": {func(tr *trial) {
			tr.config.Operators = false
			tr.expires = epoch.Add(16 * 24 * time.Hour)
			tr.play(3*24*60, "", false)
			tr.expires = epoch.Add(90 * 24 * time.Hour)
			tr.play(3*24*60, "", false)
		}, "team certificate ends in 14 days"},
		"a certificate, seen late, to the operators": {func(tr *trial) {
			tr.expires = epoch.Add(100 * time.Hour)
			tr.play(60, "", false)
		}, "ops@example.net certificate ends in 4 days"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := newTrial()
			test.play(tr)
			if got := tr.subjects(); got != test.want {
				t.Errorf("%s\nwant %s", got, test.want)
			}
			ids := map[string]bool{}
			for _, m := range tr.sent {
				if ids[m.ID] || m.Replies != "" && !ids[m.Replies] {
					t.Errorf("%q: ID %s, in reply to %s", m.Subject, m.ID, m.Replies)
				}
				ids[m.ID] = true
				if m.To != tr.config.Team && m.Cc != tr.config.Team {
					t.Errorf("%q: to %s and %s, without the team", m.Subject, m.To, m.Cc)
				}
				if strings.HasSuffix(m.Subject, " serves again") != strings.Contains(m.ID, ".over.") {
					t.Errorf("%q: %s", m.Subject, m.ID)
				}
			}
		})
	}
}

// TestDigest: once a day, what no thread is about.
func TestDigest(t *testing.T) {
	t.Parallel()
	tr := newTrial()
	tr.config.Digest = 9 * time.Hour
	tr.play(10*60, "", false) // begun at midnight: nothing to tell at nine
	tr.play(30, ledger.Down, false)
	tr.play(24*60-30, "", false)
	if len(tr.sent) != 1 {
		t.Fatalf("%d mails: %s, want one digest", len(tr.sent), tr.subjects())
	}
	m := tr.sent[0]
	if want := "https://m0.example.net/\n  down from 2026-03-01 10:00 UTC, for 30 min, at http 192.0.2.1:\n    connect: timed out\n"; m.To != "team@example.org" ||
		!strings.Contains(m.Text, want) || m.Subject != "[dl.example.org] mirrors, 2 March 2026" {
		t.Errorf("%s\n%s", m.Subject, m.Text)
	}
	tr.play(2*24*60, "", false)
	if len(tr.sent) != 1 {
		t.Errorf("%s: digests of days without anything", tr.subjects())
	}
	tr.play(5*60, ledger.Down, false)
	tr.sent = nil
	tr.play(24*60, ledger.Down, false)
	if got := tr.subjects(); strings.Contains(got, "mirrors") {
		t.Errorf("%s: what has a thread is in the digest, too", got)
	}
}

// TestDigestLate: a digest that could not be sent when it was due has all since the one before, once.
func TestDigestLate(t *testing.T) {
	t.Parallel()
	tr := newTrial()
	tr.config.Digest = 9 * time.Hour
	tr.play(10*60, "", false)
	tr.play(30, ledger.Down, false) // from 10:00 to 10:30
	tr.play(22*60-30, "", false)    // to 08:00 of the next day
	tr.quiet = "the pool is in panic"
	tr.play(2*60, "", false)
	tr.play(30, ledger.Stale, false) // from 10:00 to 10:30
	tr.play(4*60+30, "", false)      // to 15:00
	tr.quiet = ""
	tr.play(3*24*60, "", false)
	if len(tr.sent) != 1 || !strings.Contains(tr.sent[0].Text, "down from 2026-03-01 10:00") || !strings.Contains(tr.sent[0].Text, "stale from 2026-03-02 10:00") {
		t.Errorf("want one digest with both failures: %+v", tr.sent)
	}
}

// TestDigestAfterThread: what a thread was about is not in the digest after its end, and what came before it is.
func TestDigestAfterThread(t *testing.T) {
	t.Parallel()
	tr := newTrial()
	tr.config.Digest, tr.config.Operators = 9*time.Hour, false
	tr.play(10*60, "", false)
	tr.play(20, ledger.Down, false)
	tr.play(60, "", false)
	tr.play(120, ledger.Down, false)
	tr.play(3*24*60, "", false)
	if got := tr.subjects(); !strings.HasPrefix(got, "team down|team serves again|") || len(tr.sent) != 3 {
		t.Fatalf("%s, want a thread and a digest", got)
	}
	if text := tr.sent[2].Text; strings.Count(text, "down from") != 1 || !strings.Contains(text, "down from 2026-03-01 10:00 UTC, for 20 min") {
		t.Errorf("want the first failure alone:\n%s", text)
	}
}

// TestOver: of several incidents, the end of the last one to end is when a mirror serves again.
func TestOver(t *testing.T) {
	t.Parallel()
	at := func(hour int) time.Time { return epoch.Add(time.Duration(hour) * time.Hour) }
	m := newMemory()
	m.Threads[bedMirror] = thread{Since: at(2), First: "x@example.org"}
	messages, _ := m.plan(testConfig(), &View{Now: at(9), Mirrors: []Mirror{{URLPrefix: bedMirror, Incidents: []ledger.Incident{
		{Kind: ledger.Down, Since: at(0), Until: at(1), Times: 1}, {Kind: ledger.Down, Since: at(2), Until: at(8), Times: 1},
		{Kind: ledger.Stale, Since: at(3), Until: at(4), Times: 1}, {Kind: ledger.Drained, Since: at(8), Until: at(9), Times: 1},
	}}}})
	if len(messages) != 1 || !strings.Contains(messages[0].Text, "serves again since 2026-03-01 08:00 UTC") ||
		!strings.Contains(messages[0].Text, "from 2026-03-01 02:00 UTC on, for 6 h 0 min") {
		t.Errorf("%+v", messages)
	}
}

// TestTexts holds what mails say.
func TestTexts(t *testing.T) {
	t.Parallel()
	tr := newTrial()
	tr.play(10, "", false)
	tr.play(180, ledger.Down, false)
	tr.play(60, "", false)
	if len(tr.sent) != 3 {
		t.Fatalf("%s", tr.subjects())
	}
	for i, want := range []string{
		`https://m0.example.net/ has been in trouble for 1 h 0 min, since 2026-03-01 00:10 UTC.

down since 2026-03-01 00:10 UTC, at http 192.0.2.1:
  connect: timed out

It was last up and up to date at all addresses until 2026-03-01 00:10 UTC.

To see it:
  curl -v 'https://m.example.net/'
`,
		`Hello,

you run the mirror https://m0.example.net/. It gets no clients at present, or fewer, because:

https://m0.example.net/ has been in trouble for 2 h 0 min, since 2026-03-01 00:10 UTC.

down since 2026-03-01 00:10 UTC, at http 192.0.2.1:
  connect: timed out

It was last up and up to date at all addresses until 2026-03-01 00:10 UTC.

To see it:
  curl -v 'https://m.example.net/'

As soon as the checks pass, it serves again by itself. A reply to this mail reaches the mirror team.
`,
		`https://m0.example.net/ serves again since 2026-03-01 03:10 UTC.

It was in trouble from 2026-03-01 00:10 UTC on, for 3 h 0 min.
`,
	} {
		if got := tr.sent[i].Text; got != want {
			t.Errorf("mail %d:\n%s\nwant\n%s", i, got, want)
		}
	}
}

// TestNeverUp: of a mirror that no check has ever found up, no mail says until when it was.
func TestNeverUp(t *testing.T) {
	t.Parallel()
	tr := newTrial()
	tr.play(70, ledger.Down, false)
	if want := "\nIt has been in trouble since its first check.\n"; len(tr.sent) != 1 || !strings.Contains(tr.sent[0].Text, want) {
		t.Errorf("%+v, want %q", tr.sent, want)
	}
}
