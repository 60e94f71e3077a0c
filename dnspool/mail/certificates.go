package mail

import (
	"fmt"
	"slices"
	"time"

	"mirrorpool/config"
)

// A Certificate is one of the redirector's own, that ends soon or has ended.
type Certificate struct {
	Name    string
	Until   time.Time
	Problem string // why it could not be renewed, or ""
}

// certKey is where memory.Certs has a certificate of our own. No url_prefix of a mirror begins like that.
func (own *Certificate) certKey() string { return "own:" + own.Name }

// ownCertificates returns the mails about our own certificates that end soon, once for each of certDays. No mirror is
// to blame for them, so that they are sent in a panic and while this host is suspected, too.
func (m *memory) ownCertificates(c *config.Mail, v *View) (messages []Message) {
	for i := range v.Certificates {
		own := &v.Certificates[i]
		days := daysUntil(own.Until, v.Now)
		k := slices.IndexFunc(certDays[:], func(limit int) bool { return days <= limit })
		mark, marked := m.Certs[own.certKey()]
		if k < 0 || marked && mark.Expires.Equal(own.Until) && mark.Days <= certDays[k] {
			continue
		}
		m.Certs[own.certKey()] = certMark{own.Until, certDays[k]}
		messages = append(messages, own.message(c, v, days))
	}
	return messages
}

// message is a mail about a certificate that ends in so many days.
func (own *Certificate) message(c *config.Mail, v *View, days int) Message {
	what, text := fmt.Sprintf("ends in %d days", days), fmt.Sprintf(
		"The redirector's certificate for %s ends at %s, in %d days, and has not been renewed.\nBrowsers refuse it from then on.\n",
		own.Name, moment(own.Until), days)
	if days < 0 {
		what, text = "has ended", fmt.Sprintf("The redirector's certificate for %s has ended at %s. Browsers refuse it.\n", own.Name,
			moment(own.Until))
	}
	if own.Problem != "" {
		text += "\nThe last attempt to renew it failed:\n  " + config.PrintableLines(own.Problem) + "\n"
	}
	return Message{
		ID: messageID(c, &Mirror{URLPrefix: own.certKey()}, fmt.Sprintf("certificate-%d", days), own.Until), To: c.Team,
		Planned: v.Now, Subject: subject(v, "certificate for "+own.Name+" "+what), Text: text,
	}
}
