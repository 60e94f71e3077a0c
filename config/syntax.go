package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/net/idna"
)

// This file has the rules for single values. They are pure functions; their errors are hints that
// follow the value in brackets.

// Limits on DNS names, RFC 1035 section 2.3.4. Text without the final dot is two bytes shorter than
// the name on the wire.
const (
	maxLabel = 63
	maxName  = 253
)

// parsePrefix checks and normalises the URL of a folder: lower-case scheme and host, no default port,
// exactly one final slash. To parse the result again gives the same.
func parsePrefix(s string, ports map[string]string) (*url.URL, error) {
	u, err := parseURL(s, ports)
	if err != nil {
		return nil, err
	}
	if strings.ContainsAny(s, "?#") {
		return nil, errors.New("no query and no fragment")
	}
	if err := checkPath(u.Path); err != nil {
		return nil, err
	}
	path := strings.TrimRight(u.EscapedPath(), "/") + "/"
	return url.Parse(u.Scheme + "://" + u.Host + path)
}

// Schemes of URLs, with their default ports.
var (
	webPorts   = map[string]string{"http": "80", "https": "443"}
	rsyncPorts = map[string]string{"rsync": "873"}
)

// parseURL checks a URL with a host, and normalises its scheme, host and port.
func parseURL(s string, ports map[string]string) (*url.URL, error) {
	if i := strings.IndexFunc(s, func(r rune) bool { return r == ' ' || r == '\\' || unicode.IsControl(r) }); i >= 0 {
		return nil, errors.New("no spaces, backslashes and control characters")
	}
	u, err := url.Parse(s)
	var perr *url.Error
	if errors.As(err, &perr) && !strings.Contains(s, "@") {
		return nil, perr.Err // without the URL, which is quoted already
	}
	if err != nil {
		return nil, errors.New("not a URL")
	}
	standard, ok := ports[u.Scheme]
	switch {
	case !ok && u.Scheme == "":
		return nil, errors.New("no scheme")
	case !ok:
		return nil, fmt.Errorf("the scheme is %s", quote(u.Scheme))
	case u.User != nil:
		return nil, errors.New("no user and no password")
	case u.Host == "":
		return nil, errors.New("no host")
	}
	host, err := parseHost(u.Hostname(), strings.HasPrefix(u.Host, "["))
	if err != nil {
		return nil, err
	}
	if u.Host, err = joinPort(host, u.Port(), standard); err != nil {
		return nil, err
	}
	return u, nil
}

// joinPort appends a port to a host unless it is the standard one.
func joinPort(host, port, standard string) (string, error) {
	if port == "" {
		return host, nil
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return "", errors.New("the port is not from 1 to 65535")
	}
	if port = strconv.FormatUint(number, 10); port == standard {
		return host, nil
	}
	return host + ":" + port, nil
}

// parseHost normalises the host of a URL: lower case, ASCII, no final dot; IPv6 addresses in brackets.
func parseHost(host string, bracketed bool) (string, error) {
	if bracketed {
		addr, err := netip.ParseAddr(host)
		switch {
		case err != nil:
			return "", errors.New("not an IPv6 address in the brackets")
		case addr.Zone() != "":
			return "", errors.New("no IPv6 zone")
		case !addr.Is6() || addr.Is4In6():
			return "", errors.New("write IPv4 addresses without brackets")
		}
		return "[" + addr.String() + "]", nil
	}
	if strings.ContainsFunc(host, func(r rune) bool { return r > unicode.MaxASCII }) {
		ascii, err := idna.Lookup.ToASCII(host)
		if err != nil {
			return "", fmt.Errorf("not an internationalised host name: %v", err)
		}
		host = ascii
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	last := host[strings.LastIndexByte(host, '.')+1:]
	if last != "" && strings.Trim(last, "0123456789") == "" {
		// Browsers take such a host for an IPv4 address, in notations that Go does not know.
		addr, err := netip.ParseAddr(host)
		if err != nil {
			return "", errors.New("the host is not an IPv4 address")
		}
		return addr.String(), nil
	}
	if err := checkName(host); err != nil {
		return "", err
	}
	return host, nil
}

// checkPath checks the unescaped path of a URL for what could lead out of its folder.
func checkPath(path string) error {
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return fmt.Errorf("no %q segment", segment)
		}
	}
	if strings.ContainsFunc(path, func(r rune) bool { return r == '\\' || unicode.IsControl(r) }) {
		return errors.New("no backslashes and control characters")
	}
	return nil
}

// checkName checks a DNS name in lower case without its final dot: labels of letters, digits, hyphens
// and, for service names, underscores.
func checkName(name string) error {
	if len(name) > maxName {
		return fmt.Errorf("a DNS name has at most %d characters", maxName)
	}
	for label := range strings.SplitSeq(name, ".") {
		switch {
		case label == "":
			return errors.New("an empty label in a DNS name")
		case len(label) > maxLabel:
			return fmt.Errorf("a label of a DNS name has at most %d characters", maxLabel)
		case label[0] == '-' || label[len(label)-1] == '-':
			return fmt.Errorf("the label %q begins or ends with a hyphen", label)
		case strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "":
			return fmt.Errorf("%s is not made of letters, digits and hyphens", quote(label))
		}
	}
	return nil
}

// parseName normalises a DNS name: lower case, with a final dot.
func parseName(s string) (string, error) {
	name := strings.TrimSuffix(strings.ToLower(s), ".")
	if err := checkName(name); err != nil {
		return "", err
	}
	return name + ".", nil
}

// parsePoolName normalises a name of the pool: "@", or relative to the zone, in lower case. "*" may
// stand for the first label (RFC 4592). Where no zone is known, the name may be in any.
func parsePoolName(s, zone string) (string, error) {
	name := strings.ToLower(s)
	if name == "@" {
		return name, nil
	}
	if err := checkRelative(name, zone); err != nil {
		return "", err
	}
	if absolute, ok := strings.CutSuffix(name, "."); ok && zone != "" {
		if name == zone {
			return "@", nil
		}
		if name, ok = strings.CutSuffix(absolute, "."+strings.TrimSuffix(zone, ".")); !ok {
			return "", fmt.Errorf("not in the zone %s", zone)
		}
	}
	rest, wild := strings.CutPrefix(strings.TrimSuffix(name, "."), "*")
	if wild && rest == "" {
		return name, nil
	}
	if wild {
		var ok bool
		if rest, ok = strings.CutPrefix(rest, "."); !ok {
			return "", errors.New("the asterisk must be a whole label")
		}
	}
	if err := checkName(rest); err != nil {
		return "", err
	}
	if len(name)+len(zone) > maxName { // the zone's final dot counts for the one between them
		return "", fmt.Errorf("with its zone, longer than %d characters", maxName)
	}
	if rest == "_status" {
		return "", errors.New("that name is the server's own")
	}
	return name, nil
}

// checkRelative refuses a name that ends in the zone's name without a final dot. By the rules of zone files it is
// relative to the zone (RFC 1035 section 5.1), which is hardly ever meant.
func checkRelative(name, zone string) error {
	relative, inZone := strings.CutSuffix("."+name, "."+strings.TrimSuffix(zone, "."))
	if zone == "" || !inZone {
		return nil
	}
	short := strings.TrimPrefix(relative, ".")
	if short == "" {
		short = "@"
	}
	return fmt.Errorf("without a final dot it would be %s.%s; write %q or %q", name, zone, short, name+".")
}

// parseMailbox normalises a mailbox as a domain name (RFC 1035 section 3.3.13). It takes the form
// with an @ too, in which dots of the user are escaped (RFC 1035 section 8).
func parseMailbox(s string) (string, error) {
	user, domain, ok := strings.Cut(strings.ToLower(s), "@")
	if ok {
		user = strings.ReplaceAll(user, ".", `\.`)
	} else {
		masked := strings.ReplaceAll(strings.ToLower(s), `\.`, "\x00\x00")
		dot := strings.IndexByte(masked, '.')
		if dot < 0 {
			return "", errors.New("no domain after the user")
		}
		user, domain = strings.ToLower(s)[:dot], strings.ToLower(s)[dot+1:]
	}
	plain := strings.ReplaceAll(user, `\.`, ".")
	switch {
	case strings.Contains("."+plain+".", "..") || len(plain) > maxLabel:
		return "", errors.New("no user before the domain")
	case strings.Trim(plain, "abcdefghijklmnopqrstuvwxyz0123456789-_+.") != "":
		return "", fmt.Errorf("%s is not made of letters, digits, hyphens and dots", quote(plain))
	}
	domain, err := parseName(domain)
	if err != nil {
		return "", err
	}
	if len(user)+1+len(domain) > maxName {
		return "", fmt.Errorf("a DNS name has at most %d characters", maxName)
	}
	return user + "." + domain, nil
}

// parseAddress checks an address of a mirror.
func parseAddress(s string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(s)
	switch {
	case err != nil && strings.ContainsAny(s, "/"):
		return addr, errors.New("a network is not an address")
	case err != nil && strings.ContainsAny(s, "[]"):
		return addr, errors.New("no brackets and no port")
	case err != nil:
		return addr, errors.New("not an IP address")
	case addr.Zone() != "":
		return addr, errors.New("no IPv6 zone")
	case addr.Is4In6():
		return addr, fmt.Errorf("write %s", addr.Unmap())
	case addr.IsUnspecified():
		return addr, errors.New("that is no host's address")
	case addr.IsMulticast():
		return addr, errors.New("a multicast address is no host's")
	}
	return addr, nil
}

// parseNetwork reads a network, or an address as a network of one. Bits beyond its length are kept.
func parseNetwork(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if !strings.Contains(s, "/") {
		var addr netip.Addr
		if addr, err = netip.ParseAddr(s); err == nil && addr.Zone() == "" {
			p = netip.PrefixFrom(addr, addr.BitLen())
		}
	}
	switch {
	case err != nil:
		return p, errors.New("not a network")
	case !p.IsValid():
		return p, errors.New("no IPv6 zone")
	case p.Addr().Is4In6():
		return p, errors.New("write IPv4 networks as such")
	}
	return p, nil
}

// parseListener checks where to listen. The host is an IP address, "localhost", or empty for all
// addresses; port 0 means any free one.
func parseListener(s string) (string, error) {
	host, port, err := splitHostPort(s)
	if err != nil {
		return "", err
	}
	if host = strings.ToLower(host); host != "" && host != "localhost" {
		addr, err := netip.ParseAddr(host)
		if err != nil {
			return "", errors.New("the host must be an IP address")
		}
		host = addr.String()
	}
	return net.JoinHostPort(host, port), nil
}

// parseTarget checks a host and port to send to. The host is an IP address or a DNS name.
func parseTarget(s string) (string, error) {
	host, port, err := splitHostPort(s)
	switch {
	case err != nil:
		return "", err
	case port == "0":
		return "", errors.New("the port is not from 1 to 65535")
	case host == "":
		return "", errors.New("no host")
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return net.JoinHostPort(addr.String(), port), nil
	}
	if host, err = parseHost(host, strings.Contains(host, ":")); err != nil {
		return "", err
	}
	return net.JoinHostPort(host, port), nil
}

// splitHostPort takes "host:port" apart and checks the port.
func splitHostPort(s string) (host, port string, err error) {
	host, port, err = net.SplitHostPort(s)
	if err != nil {
		var aerr *net.AddrError
		if errors.As(err, &aerr) {
			return "", "", errors.New(aerr.Err)
		}
		return "", "", err
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "", "", errors.New("the port is not a number up to 65535")
	}
	return host, strconv.FormatUint(number, 10), nil
}

// IsLoopback reports whether host, an IP address or a name, can only be this machine.
func IsLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.IsLoopback()
}
