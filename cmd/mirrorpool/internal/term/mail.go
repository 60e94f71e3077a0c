package term

import (
	"fmt"
	"io"

	"mirrorpool/config"
	"mirrorpool/dnspool/mail"
)

// WriteMails writes the mails that wait, and those that would be sent now.
func WriteMails(w io.Writer, s *mail.Status) error {
	text := ""
	if s.Problem != "" {
		text += "Warning: " + s.Problem + "\n"
	}
	if s.Quiet != "" {
		text += "Nothing new is sent now: " + s.Quiet + ".\n"
	}
	text += fmt.Sprintf("%s to be sent, %s would follow now.\n", Count(len(s.Waiting), "mail"), Count(len(s.Planned), "more mail"))
	for _, list := range [...][]mail.Message{s.Waiting, s.Planned} {
		for _, m := range list {
			text += "\nTo: " + m.To + "\n"
			if m.Cc != "" {
				text += "Cc: " + m.Cc + "\n"
			}
			text += "Subject: " + m.Subject + "\n\n" + m.Text
		}
	}
	_, err := io.WriteString(w, config.PrintableLines(text))
	return err
}
