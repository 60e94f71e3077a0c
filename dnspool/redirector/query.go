package redirector

import "strings"

// listWord in a query asks for the list of mirrors. It is not passed on.
const listWord = "mirrorlist"

// statsWord as the whole query asks for numbers of the mirrors.
const statsWord = "mirrorstats"

// splitQuery removes listWord from a query, and reports whether it was there. The rest is returned after a question
// mark, unchanged but for characters that could end a URL in a header, which are percent-encoded.
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
