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
	Now      time.Time
	Zone     string // of the pool, without the final dot; may be empty
	Starting bool   // nothing is known of the mirrors yet: neither of their trouble nor which there are
	Quiet    string // why no mail is planned now, or ""
	Held     string // why an update of the list of mirrors waits for confirmation, or ""
	Mirrors  []Mirror
	// Certificates are those of the redirector that should have been renewed by now.
	Certificates []Certificate
}

// A Mirror is an enabled mirror.
type Mirror struct {
	URLPrefix, Name, Email string
	Drained                bool              // or pardoned
	First                  time.Time         // when it was seen first; zero if that is not known
	Incidents              []ledger.Incident // those that go on, and those that have ended since memory.since
	CertExpires            time.Time         // of the certificate that ends first; zero if none is known
	Commands               []string          // that show what is wrong now
}

// A Message is a mail.
type Message struct {
	ID      string    `json:"id"`      // Message-ID, without the angle brackets
	Replies string    `json:"replies"` // the Message-ID of the first of its thread, or ""
	Mirror  string    `json:"mirror"`  // url_prefix; "" if it is about no single one
	To      string    `json:"to"`
	Cc      string    `json:"cc"` // the team, of a mail to operators; else ""
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

// A span is a time that a thread was about.
type span struct {
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
}

// A memory is what was sent.
type memory struct {
	Threads map[string]thread    `json:"threads"` // by url_prefix
	Ended   map[string][]span    `json:"ended"`   // of the threads that have ended since the latest digest
	Began   map[string]time.Time `json:"began"`   // when the latest thread about a mirror began
	Certs   map[string]certMark  `json:"certs"`
	Digest  time.Time            `json:"digest"` // when the latest one was made, whether or not there was something in it
}

func newMemory() memory {
	return memory{
		Threads: map[string]thread{}, Ended: map[string][]span{}, Began: map[string]time.Time{}, Certs: map[string]certMark{},
	}
}

// clone returns a memory that can be changed by itself.
func (m memory) clone() memory {
	m.Threads, m.Ended = maps.Clone(m.Threads), maps.Clone(m.Ended)
	m.Began, m.Certs = maps.Clone(m.Began), maps.Clone(m.Certs)
	return m
}

// since returns from when on a plan needs the incidents that have ended: those of threads, and those for the next
// digest. It is zero if there has been neither.
func (m *memory) since() time.Time {
	since := m.Digest
	for _, t := range m.Threads {
		if since.IsZero() || t.Since.Before(since) {
			since = t.Since
		}
	}
	return since
}

// plan returns what is to be sent in a view, and what is to be remembered if it is.
func (m memory) plan(c *config.Mail, v *View) ([]Message, memory) {
	if v.Starting {
		return nil, m
	}
	next := m.clone()
	next.forget(v)
	messages := next.ownCertificates(c, v)
	if v.Quiet != "" {
		return messages, next
	}
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
	for i := range v.Certificates {
		here[v.Certificates[i].certKey()] = true
	}
	maps.DeleteFunc(m.Threads, func(prefix string, _ thread) bool { return !here[prefix] })
	maps.DeleteFunc(m.Ended, func(prefix string, _ []span) bool { return !here[prefix] })
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
		m.Ended[about.URLPrefix] = append(slices.Clip(m.Ended[about.URLPrefix]), span{t.Since, v.Now})
		return []Message{over(c, v, about, &t)}
	case known:
		if shows && c.Operators && about.Email != "" && t.Operators == "" && v.Now.Sub(t.Since) >= operatorsTimes*c.After {
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
		m.Digest = time.Time{}
		clear(m.Ended)
		return nil
	}
	due := latestDue(c.Digest, v.Now)
	if !m.Digest.Before(due) {
		return nil
	}
	since, text := m.Digest, ""
	if since.IsZero() {
		since = due.AddDate(0, 0, -1)
	}
	if !m.Digest.IsZero() || v.Now.Sub(due) <= time.Hour { // else the server has just begun, and knows nothing of that day
		text = digestText(v, m, since)
	}
	m.Digest = v.Now
	clear(m.Ended)
	if text == "" {
		return nil
	}
	return []Message{{
		ID: messageID(c, &Mirror{}, "digest", due), To: c.Team, Planned: v.Now,
		Subject: subject(v, "mirrors, "+due.Format("2 January 2006")), Text: text,
	}}
}

// latestDue returns when a digest was due last that is sent at a time of the day, in days of 23 and 25 hours, too.
func latestDue(daily time.Duration, now time.Time) time.Time {
	due := time.Date(now.Year(), now.Month(), now.Day(), int(daily/time.Hour), int(daily%time.Hour/time.Minute), 0, 0, now.Location())
	if now.Before(due) {
		return due.AddDate(0, 0, -1)
	}
	return due
}

// rest returns the incidents of a mirror that belong into a digest: those that go on or have ended since the digest
// before, and that no thread is or was about.
func (m *memory) rest(about *Mirror, since time.Time) (rest []ledger.Incident) {
	for _, in := range about.Incidents {
		if in.Kind != ledger.ForcedUp && (in.Open() || in.Until.After(since)) && !m.hasThread(about, &in) {
			rest = append(rest, in)
		}
	}
	slices.SortStableFunc(rest, func(a, b ledger.Incident) int { return strings.Compare(string(a.Kind), string(b.Kind)) })
	return rest
}

// hasThread reports whether an incident is a part of the trouble that a thread is about, or was about since the latest
// digest.
func (m *memory) hasThread(about *Mirror, in *ledger.Incident) bool {
	if !isTrouble(in.Kind) {
		return false
	}
	if t, ok := m.Threads[about.URLPrefix]; ok && (in.Open() || !in.Until.Before(t.Since)) {
		return true
	}
	return slices.ContainsFunc(m.Ended[about.URLPrefix], func(s span) bool {
		return !in.Since.After(s.Until) && !in.Until.Before(s.Since)
	})
}
