package mail

import (
	"maps"
	"slices"
	"strings"
	"time"

	"mirrorpool/config"
	"mirrorpool/health"
	"mirrorpool/health/ledger"
)

const (
	operatorsTimes = 2              // as long as mail.after, until the operators get a mail
	threadPause    = 24 * time.Hour // between the beginnings of two threads about a mirror
)

// certDays are how many days before a certificate ends there is a mail about it.
var certDays = [...]int{2, 7, 14} // must not be changed

// A View is what mails may be about, as it is at a moment.
type View struct {
	Now     time.Time
	Zone    string // of the pool, without the final dot; may be empty
	Quiet   string // why nothing is sent now, or ""
	Held    string // why an update of the list of mirrors waits for confirmation, or ""
	Mirrors []Mirror
}

// A Mirror is an enabled mirror.
type Mirror struct {
	URLPrefix, Name, Email string
	Drained                bool
	Incidents              []ledger.Incident // those that go on, and those that have ended within a day
	CertExpires            time.Time         // of the certificate that ends first; zero if none is known
	Commands               []string          // that show what is wrong now
}

// A Message is a mail.
type Message struct {
	ID      string    `json:"id"`      // Message-ID, without the angle brackets
	Replies string    `json:"replies"` // the Message-ID of the first of its thread, or ""
	To      string    `json:"to"`
	Cc      string    `json:"cc"` // or ""
	Subject string    `json:"subject"`
	Text    string    `json:"text"`
	Planned time.Time `json:"planned"`
}

// A thread is about one time of trouble of a mirror.
type thread struct {
	Since     time.Time `json:"since"`     // of the trouble
	First     string    `json:"first"`     // Message-ID
	Operators string    `json:"operators"` // their address, if they got a mail; or ""
}

// A certMark says about which end of a certificate there was a mail, and how many days before.
type certMark struct {
	Expires time.Time `json:"expires"`
	Days    int       `json:"days"`
}

// A memory is what was sent.
type memory struct {
	Threads map[string]thread    `json:"threads"` // by url_prefix
	Began   map[string]time.Time `json:"began"`   // when the latest thread about a mirror began
	Certs   map[string]certMark  `json:"certs"`
	Digest  time.Time            `json:"digest"` // when the latest one was due
}

func newMemory() memory {
	return memory{Threads: map[string]thread{}, Began: map[string]time.Time{}, Certs: map[string]certMark{}}
}

// clone returns a memory that can be changed by itself.
func (m memory) clone() memory {
	m.Threads, m.Began, m.Certs = maps.Clone(m.Threads), maps.Clone(m.Began), maps.Clone(m.Certs)
	return m
}

// plan returns what is to be sent in a view, and what is to be remembered if it is.
func (m memory) plan(c *config.Mail, v *View) ([]Message, memory) {
	next := m.clone()
	next.forget(v)
	if v.Quiet != "" {
		return nil, next
	}
	var messages []Message
	for i := range v.Mirrors {
		messages = append(messages, next.aboutMirror(c, v, &v.Mirrors[i])...)
	}
	return append(messages, next.digest(c, v)...), next
}

// forget drops what is no longer needed: mirrors that are gone or disabled have no trouble that could end.
func (m *memory) forget(v *View) {
	here := make(map[string]bool, len(v.Mirrors))
	for i := range v.Mirrors {
		here[v.Mirrors[i].URLPrefix] = true
	}
	maps.DeleteFunc(m.Threads, func(prefix string, _ thread) bool { return !here[prefix] })
	maps.DeleteFunc(m.Certs, func(prefix string, _ certMark) bool { return !here[prefix] })
	maps.DeleteFunc(m.Began, func(_ string, at time.Time) bool { return v.Now.Sub(at) > threadPause })
}

// aboutMirror returns the mails about one mirror.
func (m *memory) aboutMirror(c *config.Mail, v *View, about *Mirror) (messages []Message) {
	since, isIn, shows := about.trouble()
	t, known := m.Threads[about.URLPrefix]
	switch {
	case about.Drained: // a person knows
		return nil
	case known && !isIn:
		delete(m.Threads, about.URLPrefix)
		return []Message{over(c, v, about, &t)}
	case known:
		if c.Operators && about.Email != "" && t.Operators == "" && v.Now.Sub(t.Since) >= operatorsTimes*c.After {
			t.Operators = about.Email
			m.Threads[about.URLPrefix] = t
			messages = append(messages, toOperators(c, v, about, &t))
		}
	case shows && v.Now.Sub(since) >= c.After && m.mayBegin(about):
		t = thread{Since: since, First: messageID(c, about, "trouble", since)}
		m.Threads[about.URLPrefix], m.Began[about.URLPrefix] = t, v.Now
		messages = append(messages, toTeam(c, v, about, &t))
	}
	return append(messages, m.aboutCertificate(c, v, about)...)
}

// mayBegin reports whether a mail that is not part of a thread may be sent about a mirror.
func (m *memory) mayBegin(about *Mirror) bool {
	_, recently := m.Began[about.URLPrefix]
	return !recently
}

// aboutCertificate returns a mail about a certificate that ends soon, once for each of certDays. Where days have passed
// without one, the latest counts.
func (m *memory) aboutCertificate(c *config.Mail, v *View, about *Mirror) []Message {
	if about.CertExpires.IsZero() {
		return nil
	}
	days := daysUntil(about.CertExpires, v.Now)
	k := slices.IndexFunc(certDays[:], func(limit int) bool { return days <= limit })
	mark, marked := m.Certs[about.URLPrefix]
	marked = marked && mark.Expires.Equal(about.CertExpires)
	if k < 0 || marked && mark.Days <= certDays[k] || !m.mayBegin(about) {
		return nil
	}
	m.Certs[about.URLPrefix] = certMark{about.CertExpires, certDays[k]}
	m.Began[about.URLPrefix] = v.Now
	return []Message{certificate(c, v, about, days)}
}

// daysUntil is how many whole days there are until t; negative after it.
func daysUntil(t, now time.Time) int {
	v := health.Verdict{CertExpires: t}
	days, _ := v.CertDays(now)
	return days
}

// trouble returns since when a mirror is in trouble. isIn is false if it is not, and shows if it seems to be over.
func (about *Mirror) trouble() (since time.Time, isIn, shows bool) {
	for i := range about.Incidents {
		in := &about.Incidents[i]
		if !in.Open() || !isTrouble(in.Kind) {
			continue
		}
		if !isIn || in.Since.Before(since) {
			since = in.Since
		}
		isIn, shows = true, shows || in.Fit.IsZero()
	}
	return since, isIn, shows
}

func isTrouble(k ledger.Kind) bool { return k == ledger.Down || k == ledger.Stale || k == ledger.Lacks }

// digest returns the daily digest if it is due and there is something in it.
func (m *memory) digest(c *config.Mail, v *View) []Message {
	if c.Digest < 0 {
		return nil
	}
	local := v.Now
	midnight := time.Date(local.Year(), local.Month(), local.Day(), 0, 0, 0, 0, local.Location())
	due := time.Date(local.Year(), local.Month(), local.Day(), int(c.Digest/time.Hour), int(c.Digest%time.Hour/time.Minute), 0, 0,
		local.Location()) // in days with 23 or 25 hours, too
	if local.Before(due) {
		due = due.AddDate(0, 0, -1)
		midnight = midnight.AddDate(0, 0, -1)
	}
	if !m.Digest.Before(due) {
		return nil
	}
	first := m.Digest.IsZero()
	m.Digest = due
	if first && v.Now.Sub(due) > time.Hour {
		return nil // a server that has just begun has nothing of the day before
	}
	text := digestText(v, m)
	if text == "" {
		return nil
	}
	return []Message{{
		ID: messageID(c, &Mirror{}, "digest", due), To: c.Team, Planned: v.Now,
		Subject: subject(v, "mirrors, "+midnight.Format("2 January 2006")), Text: text,
	}}
}

// rest returns the incidents of a mirror that belong into a digest: those of the latest day that have no thread.
func (m *memory) rest(v *View, about *Mirror) (rest []ledger.Incident) {
	_, threaded := m.Threads[about.URLPrefix]
	for _, in := range about.Incidents {
		if in.Kind == ledger.ForcedUp || threaded && in.Open() && isTrouble(in.Kind) {
			continue
		}
		if in.Open() || v.Now.Sub(in.Until) < 24*time.Hour {
			rest = append(rest, in)
		}
	}
	slices.SortStableFunc(rest, func(a, b ledger.Incident) int { return strings.Compare(string(a.Kind), string(b.Kind)) })
	return rest
}
