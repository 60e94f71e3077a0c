package mail

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"slices"
	"strconv"
	"time"

	gomail "github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"

	"mirrorpool/config"
	"mirrorpool/config/safefile"
)

const (
	sendTime     = 30 * time.Second // for one mail, all of SMTP included
	leaveTime    = 2 * time.Second  // for QUIT
	maxLoginFile = 4 << 10
)

// A scope is what is held up by a failure to send.
type scope int

const (
	thisMail scope = iota // for now; others may be sent
	allMails              // for now: there is no session with the server, or it refuses the sender
	forGood               // this mail, which the server will never take for its recipient
	copyOnly              // the copy to the team; the recipient has the mail
)

// A sendError is why a mail, or the copy of it, was not sent.
type sendError struct {
	scope scope
	err   error
}

func (e *sendError) Error() string { return e.err.Error() }
func (e *sendError) Unwrap() error { return e.err }

// Send sends a message over SMTP. It returns soon after ctx has ended.
func Send(ctx context.Context, c *config.Mail, m *Message) error {
	msg, err := compose(c, m)
	if err != nil {
		return &sendError{forGood, err}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, sendTime, fmt.Errorf("not done within %v", sendTime))
	defer cancel()
	if err := converse(ctx, c, msg); err != nil {
		if ctx.Err() != nil { // closed connections say nothing of the cause
			err = &sendError{scopeOf(err), context.Cause(ctx)}
		}
		return &sendError{scopeOf(err), fmt.Errorf("cannot send mail over %s: %w", c.Server, err)}
	}
	return nil
}

// scopeOf returns the scope of an error that may be a sendError.
func scopeOf(err error) scope {
	var failed *sendError
	if errors.As(err, &failed) {
		return failed.scope
	}
	return thisMail
}

// converse sends a message in a session of its own. go-mail minds ctx no longer once it has dialled, and moves its
// deadlines on: so the end of ctx, which comes with that of Send, closes the connection.
func converse(ctx context.Context, c *config.Mail, msg *gomail.Msg) error {
	client, err := newClient(c, func(dialling context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(dialling, network, address)
		if err != nil {
			return nil, err
		}
		context.AfterFunc(ctx, func() { conn.Close() })
		if !c.TLS {
			return conn, nil
		}
		host, _, _ := net.SplitHostPort(address)
		secure := tls.Client(conn, &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12})
		return secure, secure.HandshakeContext(dialling)
	})
	if err != nil {
		return &sendError{allMails, err}
	}
	session, err := client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return &sendError{allMails, err}
	}
	err = transact(session, msg)
	if session.UpdateDeadline(leaveTime) == nil {
		session.Quit() // whatever follows, the server has taken the message or has not
	}
	return err
}

// transact hands a message to the server (RFC 5321 section 3.3). The first recipient is the one that counts: where the
// server refuses the second, which gets a copy, the first has the message.
func transact(session *smtp.Client, msg *gomail.Msg) error {
	sender, err := msg.GetSender(false)
	if err != nil {
		return &sendError{forGood, err}
	}
	recipients, err := msg.GetRecipients()
	if err != nil {
		return &sendError{forGood, err}
	}
	if err := session.Mail(sender); err != nil {
		return &sendError{allMails, err}
	}
	refused := session.Rcpt(recipients[0])
	var noCopy error
	if len(recipients) > 1 {
		noCopy = session.Rcpt(recipients[1])
	}
	switch {
	case refused != nil && isPermanent(refused) && len(recipients) > 1 && noCopy == nil: // it is not us that it refuses
		return &sendError{forGood, refused}
	case refused != nil:
		return refused
	}
	if err := writeData(session, msg); isPermanent(err) {
		return &sendError{forGood, err}
	} else if err != nil {
		return err
	}
	if noCopy != nil {
		return &sendError{copyOnly, noCopy}
	}
	return nil
}

// writeData sends header and body. The server has taken the message if there is no error.
func writeData(session *smtp.Client, msg *gomail.Msg) error {
	w, err := session.Data()
	if err != nil {
		return err
	}
	if _, err := msg.WriteTo(w); err != nil {
		return err
	}
	return w.Close()
}

// isPermanent reports whether a server will never take what it has refused. That it wants TLS or a login first can be
// mended (RFC 3207 section 4, RFC 4954 section 6).
func isPermanent(err error) bool {
	var response *textproto.Error
	return errors.As(err, &response) && response.Code >= 500 && !slices.Contains([]int{530, 534, 535, 538}, response.Code)
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

// newClient makes a client of go-mail. A password crosses the network only over TLS.
func newClient(c *config.Mail, dial gomail.DialContextFunc) (*gomail.Client, error) {
	host, port, err := net.SplitHostPort(c.Server)
	if err != nil {
		return nil, err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, err
	}
	options := []gomail.Option{gomail.WithPort(number), gomail.WithTimeout(sendTime), gomail.WithTLSPolicy(gomail.TLSOpportunistic),
		gomail.WithDialContextFunc(dial)}
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
