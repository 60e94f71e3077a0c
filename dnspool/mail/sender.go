package mail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	gomail "github.com/wneessen/go-mail"

	"mirrorpool/config"
	"mirrorpool/config/safefile"
)

const (
	sendTime     = 30 * time.Second // for one mail, all of SMTP included
	maxLoginFile = 4 << 10
)

// errRejected is that the server will never take a mail as it is.
var errRejected = errors.New("the server rejects it")

// Send sends a message over SMTP. The error wraps errRejected if to try again would not help.
func Send(ctx context.Context, c *config.Mail, m *Message) error {
	msg, err := compose(c, m)
	if err != nil {
		return fmt.Errorf("%w: %w", errRejected, err)
	}
	client, err := dialer(c)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	err = client.DialAndSendWithContext(ctx, msg)
	var refused *gomail.SendError
	switch {
	case err == nil, msg.IsDelivered(): // an error after that is one of leaving
		return nil
	case errors.As(err, &refused) && !refused.IsTemp() && refused.ErrorCode() >= 500:
		return fmt.Errorf("%w: %w", errRejected, err)
	}
	return fmt.Errorf("cannot send mail over %s: %w", c.Server, err)
}

// compose makes a message of go-mail.
func compose(c *config.Mail, m *Message) (*gomail.Msg, error) {
	msg := gomail.NewMsg(gomail.WithEncoding(gomail.EncodingQP), gomail.WithNoDefaultUserAgent())
	errs := []error{msg.From(c.From), msg.To(m.To)}
	if m.Cc != "" {
		errs = append(errs, msg.Cc(m.Cc))
	}
	if m.To != c.Team {
		errs = append(errs, msg.ReplyTo(c.Team))
	}
	msg.Subject(m.Subject)
	msg.SetMessageIDWithValue(m.ID)
	msg.SetDateWithValue(m.Planned)
	msg.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: no vacation notes in answer
	if m.Replies != "" {
		msg.SetGenHeader(gomail.HeaderInReplyTo, "<"+m.Replies+">")
		msg.SetGenHeader(gomail.HeaderReferences, "<"+m.Replies+">")
	}
	msg.SetBodyString(gomail.TypeTextPlain, m.Text)
	return msg, errors.Join(errs...)
}

// dialer makes a client of go-mail. A password crosses the network only over TLS.
func dialer(c *config.Mail) (*gomail.Client, error) {
	host, port, err := net.SplitHostPort(c.Server)
	if err != nil {
		return nil, err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, err
	}
	options := []gomail.Option{gomail.WithPort(number), gomail.WithTimeout(sendTime), gomail.WithTLSPolicy(gomail.TLSOpportunistic)}
	if c.TLS {
		options = append(options, gomail.WithSSL())
	}
	if c.LoginFile != "" {
		user, password, err := readLogin(c.LoginFile)
		if err != nil {
			return nil, err
		}
		mechanism := gomail.SMTPAuthAutoDiscover
		switch {
		case c.TLS:
		case config.IsLoopback(host):
			mechanism = gomail.SMTPAuthPlain // without TLS, no other is sure to be offered
		default:
			options = append(options, gomail.WithTLSPolicy(gomail.TLSMandatory))
		}
		options = append(options, gomail.WithSMTPAuth(mechanism), gomail.WithUsername(user), gomail.WithPassword(password))
	}
	return gomail.NewClient(host, options...)
}

// Check returns an error if what c names cannot be used. c may be nil.
func Check(c *config.Mail) error {
	if c == nil || c.LoginFile == "" {
		return nil
	}
	_, _, err := readLogin(c.LoginFile)
	return err
}

// readLogin reads the user and the password.
func readLogin(path string) (user, password string, err error) {
	text, err := safefile.ReadSecret(path, maxLoginFile)
	if err != nil {
		return "", "", fmt.Errorf("cannot read mail.login_file: %w", err)
	}
	first, rest, ok := bytes.Cut(bytes.TrimSpace(text), []byte("\n"))
	if !ok {
		return "", "", fmt.Errorf("mail.login_file %s: want the user in the first line and the password in the second", path)
	}
	return string(bytes.TrimSpace(first)), string(bytes.TrimSpace(rest)), nil
}
