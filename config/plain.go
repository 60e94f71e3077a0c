package config

import (
	"encoding/json"
	"math"
	"strings"
)

// plainMirror reports whether the mirror n is so simple that the schema has nothing to say of it.
//
// The schema decides; this only spares a long list most of its time, which is time that a server has to find
// beside its queries. What is unusual, or wrong, goes to the schema. A fuzz test holds that nothing else does
// wrong by not going there.
func plainMirror(n *node) bool {
	required := 0
	for _, m := range n.order {
		ok := false
		switch m.name {
		case "url_prefix":
			ok = isText(m, 1, 2048)
			required++
		case "weight":
			ok = isCount(m)
			required++
		case "rsync_url":
			ok = isText(m, 1, 2048)
		case "email":
			ok = isText(m, 0, 1024)
		case "notes":
			ok = isText(m, 0, 65536)
		case "name":
			ok = isText(m, 1, maxLabel) && isLabel(m.value.(string))
		case "dns":
			ok = isPlainDNS(m)
		case "location":
			ok = isPlainLocation(m)
		}
		if !ok {
			return false
		}
	}
	return required == 2 && n.isObject()
}

// isText reports whether n is a string of least to most bytes, and so of no more characters than most.
func isText(n *node, least, most int) bool {
	s, ok := n.value.(string)
	return ok && len(s) >= least && len(s) <= most
}

// isCount reports whether n is a whole number from 0 with few digits.
func isCount(n *node) bool {
	number, ok := n.value.(json.Number)
	if !ok || len(number) > 9 {
		return false
	}
	for i := range len(number) {
		if number[i] < '0' || number[i] > '9' {
			return false
		}
	}
	return true
}

func isLabel(s string) bool {
	for i := range len(s) {
		if !isAlphanumeric(s[i]) && (s[i] != '-' || i == 0 || i == len(s)-1) {
			return false
		}
	}
	return true
}

func isAlphanumeric(c byte) bool { return isLetter(c) || c >= '0' && c <= '9' }

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func isPlainDNS(n *node) bool {
	if _, ok := n.value.(bool); ok {
		return true
	}
	for _, m := range n.order {
		switch m.name {
		case "weight":
			if !isCount(m) {
				return false
			}
		case "addresses":
			if len(m.order) == 0 || len(m.order) > 64 || m.isObject() {
				return false
			}
			for _, item := range m.order {
				if _, ok := item.value.(string); !ok {
					return false
				}
			}
		default:
			return false
		}
	}
	return n.isObject()
}

func isPlainLocation(n *node) bool {
	for _, m := range n.order {
		ok := false
		switch m.name {
		case "country":
			country, isString := m.value.(string)
			ok = isString && len(country) == 2 && isLetter(country[0]) && isLetter(country[1])
		case "latitude":
			ok = isDegrees(m, 90)
		case "longitude":
			ok = isDegrees(m, 180)
		}
		if !ok {
			return false
		}
	}
	return n.isObject()
}

// isDegrees reports whether n is a number from -most to most, short enough that rounding cannot hide that it is
// not.
func isDegrees(n *node, most float64) bool {
	number, ok := n.value.(json.Number)
	return ok && len(number) <= 12 && !strings.ContainsAny(string(number), "eE") && math.Abs(n.float()) <= most
}
