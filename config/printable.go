package config

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Printable returns text that is safe to show on a terminal, in a CI log or in a log file. A mirror, a list or a
// server may have sent it: escape sequences could drive the terminal, line breaks could start a CI command, and
// bidirectional overrides could hide what is written. Each rune that is not printable becomes \u and four hexadecimal
// digits, as JSON writes it (a surrogate pair above U+FFFF), and each byte that is not UTF-8 becomes U+FFFD.
func Printable(text string) string { return escape(text, "") }

// PrintableLines is Printable for text of several lines, such as indented JSON: line feeds and tabs stay. JSON stays
// valid JSON, with the same values.
func PrintableLines(text string) string { return escape(text, "\n\t") }

func escape(text, keep string) string {
	var out strings.Builder
	begin := 0 // of what has not been copied
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		invalid := r == utf8.RuneError && size == 1
		if invalid || !strconv.IsPrint(r) && !strings.ContainsRune(keep, r) {
			out.WriteString(text[begin:i])
			writeEscaped(&out, r)
			begin = i + size
		}
		i += size
	}
	if begin == 0 {
		return text
	}
	out.WriteString(text[begin:])
	return out.String()
}

func writeEscaped(out *strings.Builder, r rune) {
	switch high, low := utf16.EncodeRune(r); {
	case r == utf8.RuneError:
		out.WriteRune(r)
	case high != utf8.RuneError:
		fmt.Fprintf(out, `\u%04x\u%04x`, high, low)
	default:
		fmt.Fprintf(out, `\u%04x`, r)
	}
}
