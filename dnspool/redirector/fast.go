package redirector

import (
	"bytes"
	"io"
	"net/http"
	"strings"

	"mirrorpool/dnspool/stats"
)

// A plain request is a GET for a file whose path and headers need no interpretation. Nearly all requests are plain.
// They are answered without net/http, which would take many times as long as choosing a mirror does. What counts as
// plain is a list of what is allowed: anything else is left to net/http.
type plainRequest struct {
	path        []byte // escaped, as it came
	asker       asker
	resumes     bool       // see resumes
	ranged      stats.Kind // see kindOfRange
	conditional bool       // it has If-None-Match or If-Modified-Since
	hsts        string     // Strict-Transport-Security for the answer; empty: none
	size        int        // of the whole request, bytes
}

// completeness says what is known of a request of which a part has been read.
type completeness int

const (
	partial completeness = iota // incomplete, and plain so far
	plain
	other // not plain
)

// requestStart is how a plain request begins.
const requestStart = "GET /"

// readPlain reads the first of the requests in text. An empty line before it is ignored (RFC 9112 section 2.2).
func readPlain(text []byte) (r plainRequest, c completeness) {
	rest := bytes.TrimPrefix(text, emptyLine)
	if known := min(len(rest), len(requestStart)); string(rest[:known]) != requestStart[:known] && string(rest) != "\r" {
		return r, other
	}
	for hosts := 0; ; {
		line, after, ok := bytes.Cut(rest, newline)
		if !ok {
			return r, partial
		}
		line, ok = bytes.CutSuffix(line, carriageReturn)
		switch {
		case !ok:
			return r, other
		case r.path == nil:
			if r.path, ok = plainTarget(line); !ok {
				return r, other
			}
		case len(line) == 0:
			if hosts != 1 { // RFC 9112 section 3.2
				return r, other
			}
			r.size = len(text) - len(after)
			return r, plain
		default:
			name, value, ok := bytes.Cut(line, colon)
			if !ok || !plainHeader(name, bytes.Trim(value, " \t")) {
				return r, other
			}
			switch {
			case strings.EqualFold(string(name), "Host"):
				hosts++
				r.asker.host = bytes.Trim(value, " \t")
			case strings.EqualFold(string(name), "User-Agent"):
				agent := bytes.Trim(value, " \t")
				r.asker.wget2 = isWget2(string(agent[:min(len(agent), len(wget2))]))
			case strings.EqualFold(string(name), "Range"):
				r.resumes, r.ranged = resumes(string(value)), kindOfRange(string(value))
			case strings.EqualFold(string(name), "If-None-Match"), strings.EqualFold(string(name), "If-Modified-Since"):
				r.conditional = true
			}
		}
		rest = after
	}
}

// These must not be changed.
var newline, carriageReturn, emptyLine, colon = []byte("\n"), []byte("\r"), []byte("\r\n"), []byte(":")

// plainTarget returns the path of a request line, if it needs no escaping or parsing.
func plainTarget(line []byte) ([]byte, bool) {
	target, ok := bytes.CutSuffix(line[len(requestStart)-1:], []byte(" HTTP/1.1"))
	return target, ok && consistsOf(target, "/.-_~+")
}

// consistsOf reports whether text has only ASCII letters, digits and the characters in others.
func consistsOf(text []byte, others string) bool {
	for _, c := range text {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && strings.IndexByte(others, c) < 0 {
			return false
		}
	}
	return true
}

// plainHeader reports whether a header has no effect on a redirect, nor on the framing of requests.
func plainHeader(name, value []byte) bool {
	var lower [32]byte
	if len(name) > len(lower) {
		return false
	}
	for i, c := range name {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		lower[i] = c
	}
	for _, c := range value {
		if (c < ' ' || c > '~') && c != '\t' {
			return false
		}
	}
	switch string(lower[:len(name)]) {
	case "host":
		return len(value) > 0 && consistsOf(value, hostPunctuation)
	case "connection":
		return strings.EqualFold(string(value), "keep-alive")
	case "accept", "accept-charset", "accept-encoding", "accept-language", "cache-control", "cookie", "dnt",
		"if-modified-since", "if-none-match", "if-range", "origin", "pragma", "priority", "range", "referer",
		"sec-ch-ua", "sec-ch-ua-mobile", "sec-ch-ua-platform", "sec-fetch-dest", "sec-fetch-mode", "sec-fetch-site",
		"sec-fetch-user", "sec-gpc", "upgrade-insecure-requests", "user-agent":
		return true
	}
	return false
}

// answerPlain answers a plain request with the redirect that ServeHTTP would send. answered is false if ServeHTTP would
// send anything else. err comes from the network.
func (h *Handler) answerPlain(w io.Writer, r *plainRequest, c client) (answered bool, err error) {
	target := collapse(string(r.path))
	path, err := cleanPath(target, h.inForce.Load().BasePath)
	if err != nil || h.metalinkOf(path) != "" || h.builtin(target) != nil {
		return false, nil
	}
	if sum, _ := h.sumOf(path); sum != nil {
		return false, nil
	}
	snapshot := h.Current.Load()
	if snapshot == nil {
		return false, nil
	}
	s := h.scratch.Get().(*scratch)
	defer h.scratch.Put(s)
	h.ask(&s.request, c)
	to, ok := h.known(snapshot, s, path, r.resumes)
	if !ok || to.mirror == nil {
		return false, nil
	}
	h.count(snapshot, s, &to, path, kindOf(r.ranged, r.conditional))
	text := append(s.text[:0], "HTTP/1.1 302 Found\r\nCache-Control: "+noCache[0]+"\r\n"...)
	sum := s.sum()
	if sum != nil {
		s.digest.set(sum)
		text = append(s.digest.appendDigest(append(text, "Digest: "...)), "\r\n"...)
	}
	links := len(text)
	text = append(text, "Link: "...)
	begin := len(text)
	text = s.appendLinks(text, &to, path, "", len(to.prefix)+len(path))
	text = h.appendDescription(text, begin, s, r.asker, path, len(to.prefix)+len(path))
	if len(text) == begin {
		text = text[:links]
	} else {
		text = append(text, "\r\n"...)
	}
	text = append(append(append(text, "Location: "...), to.prefix...), path...)
	if sum != nil {
		text = s.digest.appendReprDigest(append(text, "\r\nRepr-Digest: "...))
	}
	if r.hsts != "" {
		text = append(append(text, "\r\nStrict-Transport-Security: "...), r.hsts...)
	}
	text = h.Now().UTC().AppendFormat(append(text, "\r\nDate: "...), http.TimeFormat)
	s.text = append(text, "\r\nContent-Length: 0\r\n\r\n"...)
	_, err = w.Write(s.text)
	return true, err
}
