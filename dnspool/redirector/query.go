package redirector

import "strings"

// listWord in a query asks for the list of mirrors. It is the one word of ours in queries, and not passed on.
const listWord = "mirrorlist"

// splitQuery takes our own word out of a query, and reports whether it was there. What is left is passed on as it is,
// after a question mark, but for what has no place in a URL and could end one in a header: that is percent-encoded.
func splitQuery(raw string) (rest string, wantsList bool) {
	if raw == "" {
		return "", false
	}
	if strings.Contains(raw, listWord) {
		var kept []string
		for word := range strings.SplitSeq(raw, "&") {
			if key, _, _ := strings.Cut(word, "="); key == listWord {
				wantsList = true
			} else {
				kept = append(kept, word)
			}
		}
		raw = strings.Join(kept, "&")
		if raw == "" {
			return "", wantsList
		}
	}
	return "?" + escapeQuery(raw), wantsList
}

func escapeQuery(raw string) string {
	i := strings.IndexFunc(raw, func(r rune) bool { return r >= 0x7f || !inURL(byte(r)) })
	if i < 0 {
		return raw
	}
	const digits = "0123456789ABCDEF"
	text := []byte(raw[:i])
	for ; i < len(raw); i++ {
		if c := raw[i]; inURL(c) {
			text = append(text, c)
		} else {
			text = append(text, '%', digits[c>>4], digits[c&15])
		}
	}
	return string(text)
}

// inURL reports whether c may stand in a query in a header. Some of what RFC 3986 does not have, browsers send as it is.
func inURL(c byte) bool {
	return c > ' ' && c < 0x7f && c != '"' && c != '<' && c != '>' && c != '\\'
}
