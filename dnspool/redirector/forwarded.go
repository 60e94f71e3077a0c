package redirector

import (
	"net/netip"
	"strings"
)

// A hop is what a proxy says about the sender of a request.
type hop struct {
	addr  netip.Addr // invalid if the proxy hides it
	proto string
}

// parseForwarded parses the values of Forwarded headers (RFC 7239) into hops, the one nearest to the client first. ok
// is false if they are malformed.
func parseForwarded(values []string) (hops []hop, ok bool) {
	rest := strings.Join(values, ",")
	if len(values) == 0 {
		return nil, true
	}
	for {
		var h hop
		for {
			var key, value string
			if key, value, rest, ok = cutPair(rest); !ok {
				return nil, false
			}
			switch strings.ToLower(key) {
			case "for":
				h.addr, ok = parseNode(value)
				if !ok && !hidden(value) {
					return nil, false
				}
			case "proto":
				h.proto = value
			}
			if !strings.HasPrefix(rest, ";") {
				break
			}
			rest = rest[1:]
		}
		hops = append(hops, h)
		if rest == "" {
			return hops, true
		}
		rest = rest[1:] // a comma
	}
}

// cutPair cuts a pair of a token and a value from the front of text. What is left is empty, or begins with a comma or
// a semicolon.
func cutPair(text string) (key, value, rest string, ok bool) {
	key, text, ok = strings.Cut(strings.TrimLeft(text, " \t"), "=")
	if !ok || !isToken(key) {
		return "", "", "", false
	}
	if quoted, found := strings.CutPrefix(text, `"`); found {
		value, text, ok = unquote(quoted)
	} else {
		end := strings.IndexAny(text, ",; \t")
		if end < 0 {
			end = len(text)
		}
		value, text = text[:end], text[end:]
		ok = isToken(strings.ReplaceAll(value, ":", "")) // accept "for=192.0.2.1:80" although it lacks quotes
	}
	rest = strings.TrimLeft(text, " \t")
	return key, value, rest, ok && (rest == "" || rest[0] == ',' || rest[0] == ';')
}

// unquote reads the rest of a quoted string (RFC 9110 section 5.6.4).
func unquote(text string) (value, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			return b.String(), text[i+1:], true
		case '\\':
			if i++; i == len(text) {
				return "", "", false
			}
		}
		b.WriteByte(text[i])
	}
	return "", "", false
}

// isToken reports whether s is a token (RFC 9110 section 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// hidden reports whether a node is "unknown" or an obfuscated identifier (RFC 7239 section 6).
func hidden(node string) bool {
	name, _, _ := strings.Cut(node, ":")
	return strings.EqualFold(name, "unknown") || strings.HasPrefix(name, "_")
}

// parseNode parses an address in the forms that proxies use: with or without a port, IPv6 with or without brackets.
func parseNode(node string) (addr netip.Addr, ok bool) {
	if at, err := netip.ParseAddrPort(node); err == nil {
		return at.Addr().Unmap().WithZone(""), true
	}
	if inner, found := strings.CutPrefix(node, "["); found && strings.HasSuffix(inner, "]") {
		node = strings.TrimSuffix(inner, "]")
	}
	addr, err := netip.ParseAddr(node)
	return addr.Unmap().WithZone(""), err == nil
}
