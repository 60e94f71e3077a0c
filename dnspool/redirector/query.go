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
	return "?" + percentEncode(raw, inQuery), wantsList
}
