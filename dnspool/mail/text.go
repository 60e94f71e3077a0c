package mail

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"mirrorpool/config"
	"mirrorpool/health/ledger"
)

// messageID returns a Message-ID (RFC 5322 section 3.6.4), without the angle brackets. It is the same for the same
// mail, so that one that is sent twice, because the server was killed in between, is seen as one.
func messageID(c *config.Mail, about *Mirror, kind string, at time.Time) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s\n%d", c.From, about.URLPrefix, kind, at.UnixNano()))
	_, domain, _ := strings.Cut(c.From, "@")
	return "mirrorpool." + kind + "." + hex.EncodeToString(sum[:12]) + "@" + domain
}

// subject puts the pool before a text.
func subject(v *View, text string) string {
	return config.Printable("[" + cmp.Or(v.Zone, "mirrorpool") + "] " + text)
}

// title is a mirror's name for people.
func (about *Mirror) title() string {
	title := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(about.URLPrefix, "https://"), "http://"), "/")
	if about.Name != "" {
		title = about.Name + ", " + title
	}
	return title
}

// toTeam is the first mail of a thread.
func toTeam(c *config.Mail, v *View, about *Mirror, t *thread) Message {
	return Message{
		ID: t.First, Mirror: about.URLPrefix, To: c.Team, Subject: subject(v, about.title()+": "+about.kinds()), Planned: v.Now,
		Text: troubleText(v, about, t.Since),
	}
}

// toOperators is the mail to a mirror's own address.
func toOperators(c *config.Mail, v *View, about *Mirror, t *thread) Message {
	text := fmt.Sprintf("Hello,\n\nyou run the mirror %s. It gets no clients at present, or fewer, because:\n\n", about.URLPrefix) +
		troubleText(v, about, t.Since) +
		"\nAs soon as the checks pass, it serves again by itself. A reply to this mail reaches the mirror team.\n"
	return Message{
		ID: messageID(c, about, "operators", t.Since), Replies: t.First, Mirror: about.URLPrefix, To: t.Operators, Cc: c.Team,
		Planned: v.Now, Subject: subject(v, about.title()+": "+about.kinds()), Text: text,
	}
}

// over is the last mail of a thread.
func over(c *config.Mail, v *View, about *Mirror, t *thread) Message {
	end := t.Since
	for _, in := range about.Incidents {
		if isTrouble(in.Kind) && in.Until.After(end) {
			end = in.Until
		}
	}
	if end.Equal(t.Since) { // the incident is no longer known
		end = v.Now
	}
	m := Message{
		ID: messageID(c, about, "over", t.Since), Replies: t.First, Mirror: about.URLPrefix, To: c.Team, Planned: v.Now,
		Subject: subject(v, about.title()+": serves again"),
		Text: fmt.Sprintf("%s serves again since %s.\n\nIt was in trouble from %s on, for %s.\n", about.URLPrefix, moment(end),
			moment(t.Since), length(end.Sub(t.Since))),
	}
	if t.Operators != "" {
		m.To, m.Cc = t.Operators, c.Team
	}
	return m
}

// certificate is a mail about a certificate that ends in so many days.
func certificate(c *config.Mail, v *View, about *Mirror, days int) Message {
	text := fmt.Sprintf("The certificate of %s ends at %s, in %d days.\n\nClients and checks refuse the mirror from then on.\n",
		about.URLPrefix, moment(about.CertExpires), days)
	what := fmt.Sprintf("certificate ends in %d days", days)
	if days < 0 {
		what = "certificate has ended"
		text = fmt.Sprintf("The certificate of %s has ended at %s. Clients and checks refuse the mirror.\n", about.URLPrefix,
			moment(about.CertExpires))
	}
	m := Message{
		ID: messageID(c, about, fmt.Sprintf("certificate-%d", days), about.CertExpires), Mirror: about.URLPrefix, To: c.Team,
		Planned: v.Now, Subject: subject(v, about.title()+": "+what), Text: text,
	}
	if c.Operators && about.Email != "" {
		m.To, m.Cc = about.Email, c.Team
	}
	return m
}

// kinds names what is wrong with a mirror.
func (about *Mirror) kinds() string {
	var kinds []string
	for _, in := range about.Incidents {
		if in.Open() && isTrouble(in.Kind) {
			kinds = append(kinds, string(in.Kind))
		}
	}
	return strings.Join(kinds, ", ")
}

// troubleText says what is wrong with a mirror, since when, where, and how to see it.
func troubleText(v *View, about *Mirror, since time.Time) string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s has been in trouble for %s, since %s.\n", about.URLPrefix, length(v.Now.Sub(since)), moment(since))
	for _, in := range about.Incidents {
		if in.Open() && isTrouble(in.Kind) {
			text.WriteString("\n" + incidentText(&in, v.Now))
		}
	}
	if about.First.Before(since) {
		fmt.Fprintf(&text, "\nIt was last up and up to date at all addresses until %s.\n", moment(since))
	} else {
		text.WriteString("\nIt has been in trouble since its first check.\n")
	}
	if len(about.Commands) > 0 {
		text.WriteString("\nTo see it:\n")
		for _, command := range about.Commands {
			text.WriteString("  " + config.Printable(command) + "\n")
		}
	}
	return text.String()
}

// incidentText is a line or two about an incident.
func incidentText(in *ledger.Incident, now time.Time) string {
	text := fmt.Sprintf("%s since %s", in.Kind, moment(in.Since))
	if !in.Open() {
		text = fmt.Sprintf("%s from %s, for %s", in.Kind, moment(in.Since), length(in.Length(now)))
	}
	if in.Times > 1 {
		text += fmt.Sprintf(" (it came and went %d times)", in.Times)
	}
	if len(in.Where) > 0 {
		text += ", at " + strings.Join(in.Where, ", ")
	}
	if in.Reason != "" {
		text += ":\n  " + in.Reason
	}
	return config.PrintableLines(text) + "\n"
}

// digestText lists what has been since the digest before and no thread is about. It is "" if there is nothing.
func digestText(v *View, m *memory, since time.Time) string {
	var text strings.Builder
	if v.Held != "" {
		fmt.Fprintf(&text, "An update of the list of mirrors is held back: %s.\n'mirrorpool reload --confirm' accepts it.\n\n",
			config.Printable(v.Held))
	}
	for i := range v.Mirrors {
		about := &v.Mirrors[i]
		rest := m.rest(about, since)
		if len(rest) == 0 {
			continue
		}
		fmt.Fprintf(&text, "%s\n", about.URLPrefix)
		for k := range rest {
			for line := range strings.Lines(incidentText(&rest[k], v.Now)) {
				text.WriteString("  " + line)
			}
		}
		text.WriteString("\n")
	}
	return text.String()
}

// moment writes a time for people.
func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

// length writes a duration for people, to the minute.
func length(d time.Duration) string {
	minutes := int(d.Round(time.Minute) / time.Minute)
	switch {
	case minutes < 60:
		return fmt.Sprintf("%d min", minutes)
	case minutes < 48*60:
		return fmt.Sprintf("%d h %d min", minutes/60, minutes%60)
	default:
		return fmt.Sprintf("%d days", minutes/60/24)
	}
}
