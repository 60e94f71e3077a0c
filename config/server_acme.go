package config

import (
	"errors"
	"net/mail"
	"net/netip"
	"slices"
	"strings"
)

// letsEncrypt is the directory that an absent key means.
const letsEncrypt = "https://acme-v02.api.letsencrypt.org/directory"

// acme reads the section of that name.
func (c *checker) acme(o object) *ACME {
	a := &ACME{Directories: []string{letsEncrypt}}
	o.path("ca_root", &a.CARoot)
	for _, n := range o.items("names") {
		name, err := parseCertName(n.text())
		if err == nil && slices.Contains(a.Names, name) {
			err = errors.New("it is in the list already")
		}
		if err == nil && strings.Contains(name, "_") && a.CARoot == "" {
			err = errors.New("only a private authority, with ca_root, may issue for a name with an underscore")
		}
		if err != nil {
			c.failValue(n, `a host name such as "download.example.org"`, err)
		}
		a.Names = append(a.Names, name)
	}
	if n := o.string("email", &a.Email); n != nil && a.Email != "" {
		address, err := mail.ParseAddress(a.Email)
		if err != nil {
			c.fail(n, `want an e-mail address such as "mirrors@example.org", got %s`, quote(n.text()))
		} else {
			a.Email = address.Address
		}
	}
	c.directories(o, a)
	eab := o.object("eab")
	eab.string("kid", &a.EABKeyID)
	eab.path("key_file", &a.EABKeyFile)
	o.string("challenge", &a.Challenge)
	isWild := func(name string) bool { return strings.HasPrefix(name, "*.") }
	if n := o.get("challenge"); a.Challenge != "" && a.Challenge != "dns-01" && slices.ContainsFunc(a.Names, isWild) {
		c.fail(n, `want "dns-01", the only challenge for names with "*"`)
	}
	return a
}

// parseCertName normalises a name that a certificate is for.
func parseCertName(s string) (string, error) {
	host, wild := strings.CutPrefix(s, "*.")
	host, err := parseHost(strings.TrimSuffix(strings.ToLower(host), "."), false)
	if _, notIP := netip.ParseAddr(host); err == nil && (notIP == nil || !strings.Contains(host, ".")) {
		err = errors.New("neither an address nor a name without a dot")
	}
	if wild {
		host = "*." + host
	}
	return host, err
}

// directories reads where the authorities are: one URL or a list.
func (c *checker) directories(o object, a *ACME) {
	n := o.get("directory")
	if n == nil {
		return
	}
	nodes := []*node{n}
	if n.kind == arrayValue {
		nodes = o.items("directory")
	}
	a.Directories = nil
	for _, n := range nodes {
		u, err := parseURL(n.text(), webPorts)
		if err == nil && u.Scheme == "http" && !IsLoopback(u.Hostname()) {
			err = errors.New("http only on this machine")
		}
		if err == nil && slices.Contains(a.Directories, u.String()) {
			err = errors.New("it is in the list already")
		}
		if err != nil {
			c.failValue(n, "the https URL of an ACME directory", err)
			continue
		}
		a.Directories = append(a.Directories, u.String())
	}
}
