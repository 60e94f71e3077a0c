package testbed

import (
	"crypto/tls"
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

	mu      sync.Mutex
	mails   []Mail
	reject  map[string]string        // by recipient, the response
	answers map[string]string        // by command, the response; "." for the end of the data
	hang    map[string]chan struct{} // by command, closed once the server hangs
	down    bool
	rude    bool
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
	return newMailbox(t, l, login)
}

// NewTLSMailbox starts a server that speaks TLS from the first byte (RFC 8314 section 3.3).
func NewTLSMailbox(t testing.TB, login string, certificate tls.Certificate) *Mailbox {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}})
	if err != nil {
		t.Fatal(err)
	}
	return newMailbox(t, l, login)
}

func newMailbox(t testing.TB, l net.Listener, login string) *Mailbox {
	b := &Mailbox{Addr: l.Addr().String(), reject: map[string]string{}, answers: map[string]string{}, hang: map[string]chan struct{}{}}
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

// Answer has the server answer so to a command ("." for the end of the data); "": as it did before.
func (b *Mailbox) Answer(verb, response string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answers[verb] = response
}

// Hang has the server hang once, when it gets a command: "" for the greeting, "." for the end of the data. hung is
// closed once it does.
func (b *Mailbox) Hang(verb string) (hung <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := make(chan struct{})
	b.hang[verb] = c
	return c
}

// serve speaks with one client.
func (b *Mailbox) serve(conn net.Conn, login string) {
	text := textproto.NewConn(conn)
	if b.is(&b.down) {
		text.PrintfLine("421 come back later")
		return
	}
	if b.hangs("", conn) {
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
		verb = strings.ToUpper(verb)
		if b.hangs(verb, conn) || verb == "QUIT" && b.is(&b.rude) {
			return
		}
		answer := b.answer(verb, rest, login, &mail)
		text.PrintfLine("%s", answer)
		switch {
		case verb == "QUIT":
			return
		case verb == "DATA" && strings.HasPrefix(answer, "3"):
			body, err := io.ReadAll(text.DotReader())
			if err != nil || b.hangs(".", conn) {
				return
			}
			mail.Text = string(body)
			text.PrintfLine("%s", b.keep(mail))
		}
	}
}

// answer is the response to a command.
func (b *Mailbox) answer(verb, rest, login string, mail *Mail) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if response := b.answers[verb]; response != "" {
		return response
	}
	switch verb {
	case "EHLO":
		if login != "" {
			return "250-mailbox\r\n250 AUTH PLAIN"
		}
	case "AUTH":
		if _, given, _ := strings.Cut(rest, " "); given != base64.StdEncoding.EncodeToString([]byte(login)) {
			return "535 wrong"
		}
		return "235 welcome"
	case "MAIL":
		*mail = Mail{}
	case "RCPT":
		recipient := strings.Trim(rest[strings.Index(rest, "<"):], "<> ")
		if response := b.reject[recipient]; response != "" {
			return response
		}
		mail.To = append(mail.To, recipient)
	case "DATA":
		return "354 go on"
	case "QUIT":
		return "221 bye"
	}
	return "250 ok"
}

// hangs reports whether a command is the one at which the server hangs. If so, it returns once the client has left.
func (b *Mailbox) hangs(verb string, conn net.Conn) bool {
	b.mu.Lock()
	hung := b.hang[verb]
	delete(b.hang, verb)
	b.mu.Unlock()
	if hung == nil {
		return false
	}
	close(hung)
	io.Copy(io.Discard, conn)
	return true
}

// is reads a flag.
func (b *Mailbox) is(flag *bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return *flag
}

// keep takes a mail, and returns the response.
func (b *Mailbox) keep(mail Mail) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if response := b.answers["."]; response != "" {
		return response
	}
	b.mails = append(b.mails, mail)
	return "250 ok"
}
