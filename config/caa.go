package config

import (
	"errors"
	"fmt"
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

// parseCAA reads a CAA record's data in presentation format (RFC 8659 section 4.1.1).
func parseCAA(s string) (CAA, error) {
	flags, rest, _ := strings.Cut(strings.TrimSpace(s), " ")
	tag, value, ok := strings.Cut(strings.TrimSpace(rest), " ")
	number, err := strconv.ParseUint(flags, 10, 8)
	tag, value = strings.ToLower(tag), strings.TrimSpace(value)
	switch {
	case !ok:
		return CAA{}, errors.New("flags, a tag and a value, with spaces between them")
	case err != nil:
		return CAA{}, errors.New("the flags are a number from 0 to 255")
	case !slices.Contains(caaTags, tag):
		return CAA{}, fmt.Errorf("the tag is one of %s", strings.Join(caaTags, ", "))
	}
	if quoted, ok := strings.CutPrefix(value, `"`); ok && len(value) > 1 {
		value = strings.TrimSuffix(quoted, `"`)
	} else if strings.Contains(value, " ") {
		return CAA{}, errors.New("a value with spaces stands in double quotes")
	}
	if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		return CAA{}, errors.New("the value is printable ASCII without quotes and backslashes")
	}
	return CAA{byte(number), tag, value}, nil
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
		authority, parameters, _ := strings.Cut(caa.Value, ";")
		if strings.TrimSpace(authority) != "" && !limitsIssuance(parameters) {
			return false
		}
	}
	return issuers > 0
}

// limitsIssuance reports whether parameters of a CAA value bind issuance to an account, or to DNS-01.
func limitsIssuance(parameters string) bool {
	for parameter := range strings.SplitSeq(parameters, ";") {
		name, value, _ := strings.Cut(parameter, "=")
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "accounturi":
			return true
		case "validationmethods":
			methods := strings.Split(value, ",")
			if !slices.ContainsFunc(methods, func(m string) bool { return strings.TrimSpace(m) != "dns-01" }) {
				return true
			}
		}
	}
	return false
}
