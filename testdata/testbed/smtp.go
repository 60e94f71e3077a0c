package testbed

import (
	"bufio"
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

// Reject has the server answer so to a recipient.
func (b *Mailbox) Reject(recipient, response string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reject[recipient] = response
}

// serve speaks with one client.
func (b *Mailbox) serve(conn net.Conn, login string) {
	b.mu.Lock()
	down := b.down
	b.mu.Unlock()
	text := textproto.NewConn(conn)
	if down {
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
		verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
		switch {
		case verb == "EHLO" && login != "":
			text.PrintfLine("250-mailbox\r\n250 AUTH PLAIN")
		case verb == "EHLO":
			text.PrintfLine("250 mailbox")
		case verb == "AUTH":
			if _, given, _ := strings.Cut(line[len("AUTH "):], " "); given != base64.StdEncoding.EncodeToString([]byte(login)) {
				text.PrintfLine("535 wrong")
				return
			}
			text.PrintfLine("235 welcome")
		case verb == "MAIL":
			mail = Mail{}
			text.PrintfLine("250 ok")
		case verb == "RCPT":
			recipient := strings.Trim(line[strings.Index(line, "<"):], "<> ")
			b.mu.Lock()
			response := b.reject[recipient]
			b.mu.Unlock()
			if response != "" {
				text.PrintfLine("%s", response)
				continue
			}
			mail.To = append(mail.To, recipient)
			text.PrintfLine("250 ok")
		case verb == "DATA":
			text.PrintfLine("354 go on")
			body, err := io.ReadAll(bufio.NewReader(text.DotReader()))
			if err != nil {
				return
			}
			mail.Text = string(body)
			b.mu.Lock()
			b.mails = append(b.mails, mail)
			b.mu.Unlock()
			text.PrintfLine("250 kept")
		case verb == "QUIT":
			text.PrintfLine("221 bye")
			return
		default:
			text.PrintfLine("250 ok")
		}
	}
}
