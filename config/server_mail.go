package config

import (
	"errors"
	"net"
	"net/mail"
	"net/url"
	"strings"
	"time"
)

// smtpPorts are the default ports of the schemes of mail.smtp.
var smtpPorts = map[string]string{"smtp": "25", "smtps": "465"}

// mail reads the section of that name.
func (c *checker) mail(root object, s *Server) {
	o := root.object("mail")
	if o.node == nil || !o.node.isObject() {
		return
	}
	m := &Mail{After: time.Hour, Digest: 9 * time.Hour}
	s.Mail = m
	if n := o.get("smtp"); n != nil {
		var err error
		if m.Server, m.TLS, err = parseSMTP(n.text()); err != nil {
			c.failValue(n, `a URL such as "smtp://localhost" or "smtps://mail.example.org"`, err)
		}
	}
	o.path("login_file", &m.LoginFile)
	for key, to := range map[string]*string{"from": &m.From, "team": &m.Team} {
		if n := o.get(key); n != nil {
			address, err := mail.ParseAddress(n.text())
			if err != nil {
				c.fail(n, `want an e-mail address such as "mirrors@example.org", got %s`, quote(n.text()))
				continue
			}
			*to = address.Address
		}
	}
	o.bool("operators", &m.Operators)
	o.duration("after", &m.After, time.Minute, 7*day, 1)
	if n := o.get("digest"); n != nil {
		m.Digest = c.timeOfDay(n)
	}
}

// parseSMTP reads the URL of an SMTP server.
func parseSMTP(text string) (server string, tls bool, err error) {
	u, err := url.Parse(text)
	if err != nil {
		return "", false, errors.New("not a URL")
	}
	port, known := smtpPorts[u.Scheme]
	switch {
	case !known:
		return "", false, errors.New("neither smtp:// nor smtps://")
	case u.User != nil:
		return "", false, errors.New("no user: give a login_file")
	case u.Hostname() == "":
		return "", false, errors.New("no host")
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return "", false, errors.New("nothing after the host")
	case u.Port() != "":
		port = u.Port()
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port), u.Scheme == "smtps", nil
}

// timeOfDay reads a time such as "09:00" as the time since midnight; "" is -1.
func (c *checker) timeOfDay(n *node) time.Duration {
	if n.text() == "" {
		return -1
	}
	t, err := time.Parse("15:04", n.text())
	if err != nil {
		c.fail(n, `want a time of the day such as "09:00", or "" for none, got %s`, quote(n.text()))
	}
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute
}
