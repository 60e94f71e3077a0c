package config

import (
	"errors"
	"fmt"
	"net/mail"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// A CAA says which certificate authorities may issue for a name, and how (RFC 8659).
type CAA struct {
	Flags byte
	Tag   string // lower case
	Value string // printable ASCII without quotes and backslashes
}

// caaTags are the registered tags. A certificate authority ignores a misspelt one, which then protects nothing.
var caaTags = []string{"issue", "issuewild", "issuemail", "issuevmc", "iodef", "contactemail", "contactphone"}

// caaCritical is the only flag there is: an authority that does not know the tag must not issue.
const caaCritical = 128

// parseCAA reads a CAA record's data in presentation format (RFC 8659 section 4.1.1).
func parseCAA(s string) (CAA, error) {
	flags, rest := cutField(s)
	tag, value := cutField(rest)
	number, err := strconv.ParseUint(flags, 10, 8)
	tag = strings.ToLower(tag)
	switch {
	case value == "":
		return CAA{}, errors.New("flags, a tag and a value, with spaces between them")
	case err != nil || number != 0 && number != caaCritical:
		return CAA{}, fmt.Errorf("the flags are 0, or %d for a critical property", caaCritical)
	case !slices.Contains(caaTags, tag):
		return CAA{}, fmt.Errorf("the tag is one of %s", strings.Join(caaTags, ", "))
	}
	if value, err = unquoteCAA(value); err == nil {
		err = checkCAAValue(tag, value)
	}
	if err != nil {
		return CAA{}, err
	}
	return CAA{byte(number), tag, value}, nil
}

// cutField returns the first word of s, and what follows.
func cutField(s string) (first, rest string) {
	const blank = " \t"
	s = strings.Trim(s, blank)
	end := strings.IndexAny(s, blank)
	if end < 0 {
		return s, ""
	}
	return s[:end], strings.TrimLeft(s[end:], blank)
}

// unquoteCAA takes the quotes off a value.
func unquoteCAA(s string) (string, error) {
	if quoted, ok := strings.CutPrefix(s, `"`); ok {
		if s, ok = strings.CutSuffix(quoted, `"`); !ok {
			return "", errors.New("the closing quote is missing")
		}
	} else if strings.ContainsAny(s, " \t") {
		return "", errors.New("a value with spaces stands in double quotes")
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		return "", errors.New("the value is printable ASCII without quotes and backslashes")
	}
	return s, nil
}

// checkCAAValue checks a value for its tag. An authority takes an issuer that it cannot parse for a ban on all.
func checkCAAValue(tag, value string) error {
	switch tag {
	case "iodef":
		u, err := url.Parse(value)
		if err != nil || !slices.Contains([]string{"mailto", "http", "https"}, u.Scheme) || u.Opaque == "" && u.Host == "" {
			return errors.New(`iodef is a URL such as "mailto:security@example.org"`)
		}
	case "contactemail":
		if a, err := mail.ParseAddress(value); err != nil || a.Address != value {
			return errors.New("contactemail is an e-mail address")
		}
	case "contactphone":
		if strings.Trim(value, "+0123456789-.() ") != "" || value == "" {
			return errors.New("contactphone is a telephone number")
		}
	default:
		_, err := parseCAAIssuer(value)
		return err
	}
	return nil
}

// A caaIssuer is the value of an issue or issuewild property (RFC 8659 section 4.2).
type caaIssuer struct {
	domain     string // lower case; empty: no authority may issue
	parameters []caaParameter
}

type caaParameter struct{ tag, value string } // tag in lower case

// parseCAAIssuer parses a value by the grammar of RFC 8659 section 4.2.
func parseCAAIssuer(value string) (issuer caaIssuer, err error) {
	domain, rest, more := strings.Cut(value, ";")
	issuer.domain = strings.ToLower(strings.Trim(domain, " \t"))
	if issuer.domain != "" && !isSeriesOf(strings.Split(issuer.domain, ".")) {
		return issuer, fmt.Errorf("an authority is a domain name such as letsencrypt.org, got %s", quote(issuer.domain))
	}
	if !more || strings.Trim(rest, " \t") == "" {
		return issuer, nil
	}
	for text := range strings.SplitSeq(rest, ";") {
		tag, value, ok := strings.Cut(text, "=")
		tag, value = strings.ToLower(strings.Trim(tag, " \t")), strings.Trim(value, " \t")
		if !ok || !isSeriesOf([]string{tag}) || strings.ContainsAny(value, " \t") {
			return issuer, fmt.Errorf(`behind ";" stand parameters such as validationmethods=dns-01, got %s`, quote(strings.Trim(text, " \t")))
		}
		issuer.parameters = append(issuer.parameters, caaParameter{tag, value})
	}
	return issuer, nil
}

// isSeriesOf reports whether all labels are of letters, digits, and hyphens between them.
func isSeriesOf(labels []string) bool {
	return !slices.ContainsFunc(labels, func(label string) bool {
		other := func(r rune) bool {
			return !(r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z')
		}
		return label == "" || label[0] == '-' || label[len(label)-1] == '-' || strings.ContainsFunc(label, other)
	})
}

// issuerOf returns the issuer that a property names. One that cannot be parsed bans all authorities.
func issuerOf(caa CAA) caaIssuer {
	issuer, err := parseCAAIssuer(caa.Value)
	if err != nil {
		return caaIssuer{}
	}
	return issuer
}

// CAAKeepsMirrorsOut reports whether CAA records keep the operator of a mirror, whose server answers at a name, from
// getting a certificate for it: each authority that may issue wants a proof that only the name's owner can give, or
// the owner's account (RFC 8657).
func CAAKeepsMirrorsOut(list []CAA) bool {
	issuers := 0
	for _, caa := range list {
		if caa.Tag != "issue" && caa.Tag != "issuewild" {
			continue
		}
		if caa.Tag == "issue" {
			issuers++
		}
		if issuer := issuerOf(caa); issuer.domain != "" && !issuer.limitsIssuance() {
			return false
		}
	}
	return issuers > 0
}

// limitsIssuance reports whether parameters bind issuance to an account, or to DNS-01.
func (i caaIssuer) limitsIssuance() bool {
	return slices.ContainsFunc(i.parameters, func(p caaParameter) bool {
		return p.tag == "accounturi" || p.tag == "validationmethods" && p.value == "dns-01"
	})
}

// CAAPermits reports whether CAA records let an authority, which they name by a domain, issue for a name by one of
// some challenges. Accounts are not compared.
func CAAPermits(list []CAA, authority string, wildcard bool, challenges []string) bool {
	tag := "issue"
	if wildcard && slices.ContainsFunc(list, func(c CAA) bool { return c.Tag == "issuewild" }) {
		tag = "issuewild"
	}
	restricted := false
	for _, caa := range list {
		if caa.Tag != tag {
			continue
		}
		restricted = true
		if issuer := issuerOf(caa); issuer.domain == authority && issuer.permitsOne(challenges) {
			return true
		}
	}
	return !restricted
}

// permitsOne reports whether parameters leave one of some challenges.
func (i caaIssuer) permitsOne(challenges []string) bool {
	return slices.ContainsFunc(challenges, func(challenge string) bool {
		return !slices.ContainsFunc(i.parameters, func(p caaParameter) bool {
			return p.tag == "validationmethods" && !slices.Contains(strings.Split(p.value, ","), challenge)
		})
	})
}
