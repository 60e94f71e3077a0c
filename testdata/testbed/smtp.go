package testbed

import (
	"encoding/base64"
	"io"
	"net"
	"net/textproto"
	"strings"
	"sync"
	"testing"
)

// A Mailbox is an SMTP server (RFC 5321) on loopback that keeps what it gets.
type Mailbox struct {
	Addr string

	mu     sync.Mutex
	mails  []Mail
	reject map[string]string // by recipient, the response
	down   bool
	rude   bool
}

// A Mail is one that a Mailbox got.
type Mail struct {
	To   []string // of the envelope
	Text string   // header and body
}

// NewMailbox starts a server. If login is not "", clients have to log in with it (AUTH PLAIN, RFC 4616).
func NewMailbox(t testing.TB, login string) *Mailbox {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &Mailbox{Addr: l.Addr().String(), reject: map[string]string{}}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				b.serve(conn, login)
			})
		}
	})
	t.Cleanup(func() { l.Close(); serving.Wait() })
	return b
}

// Mails returns what the server got, in this order.
func (b *Mailbox) Mails() []Mail {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]Mail{}, b.mails...)
}

// SetDown has the server refuse all clients for now, or no longer.
func (b *Mailbox) SetDown(down bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down = down
}

// SetRude has the server leave without an answer to QUIT.
func (b *Mailbox) SetRude() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rude = true
}

// Reject has the server answer so to a recipient.
func (b *Mailbox) Reject(recipient, response string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reject[recipient] = response
}

// serve speaks with one client.
func (b *Mailbox) serve(conn net.Conn, login string) {
	text := textproto.NewConn(conn)
	if b.is(&b.down) {
		text.PrintfLine("421 come back later")
		return
	}
	text.PrintfLine("220 mailbox ESMTP")
	var mail Mail
	for {
		line, err := text.ReadLine()
		if err != nil {
			return
		}
		verb, rest, _ := strings.Cut(line, " ")
		answer := "250 ok"
		switch strings.ToUpper(verb) {
		case "EHLO":
			if login != "" {
				answer = "250-mailbox\r\n250 AUTH PLAIN"
			}
		case "AUTH":
			answer = "235 welcome"
			if _, given, _ := strings.Cut(rest, " "); given != base64.StdEncoding.EncodeToString([]byte(login)) {
				answer = "535 wrong"
			}
		case "MAIL":
			mail = Mail{}
		case "RCPT":
			answer = b.take(&mail, strings.Trim(rest[strings.Index(rest, "<"):], "<> "))
		case "DATA":
			text.PrintfLine("354 go on")
			body, err := io.ReadAll(text.DotReader())
			if err != nil {
				return
			}
			mail.Text = string(body)
			b.keep(mail)
		}
		if strings.EqualFold(verb, "QUIT") {
			if !b.is(&b.rude) {
				text.PrintfLine("221 bye")
			}
			return
		}
		text.PrintfLine("%s", answer)
	}
}

// is reads a flag.
func (b *Mailbox) is(flag *bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return *flag
}

// take adds a recipient to a mail, and returns the response.
func (b *Mailbox) take(mail *Mail, recipient string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if response := b.reject[recipient]; response != "" {
		return response
	}
	mail.To = append(mail.To, recipient)
	return "250 ok"
}

func (b *Mailbox) keep(mail Mail) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mails = append(b.mails, mail)
}
