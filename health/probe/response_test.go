package probe

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestReadResponse: what a client would trip over is an error that says what it is.
func TestReadResponse(t *testing.T) {
	rest := &part{first: 1, size: 11}
	for _, test := range []struct {
		name   string
		of     *part
		status int
		header string // "Name: value"
		body   string
		want   string
	}{
		{"the file", nil, 200, "", trace, ""},
		{"the rest", rest, 206, "Content-Range: bytes 1-10/11", trace[1:], ""},
		{"the rest, without the size", rest, 206, "Content-Range: bytes 1-10/*", trace[1:], ""},
		{"the unit in capitals", rest, 206, "Content-Range: Bytes 1-10/11", trace[1:], ""},
		{"no Content-Range", rest, 206, "", trace[1:],
			`status: 206 without Content-Range, want "bytes 1-10/11": clients cannot resume downloads`},
		{"from the first byte", rest, 206, "Content-Range: bytes 0-10/11", trace,
			`status: 206 with Content-Range "bytes 0-10/11", want "bytes 1-10/11": clients cannot resume downloads`},
		{"too short", rest, 206, "Content-Range: bytes 1-9/11", trace[1:10],
			`status: 206 with Content-Range "bytes 1-9/11", want "bytes 1-10/11": clients cannot resume downloads`},
		{"another size", rest, 206, "Content-Range: bytes 1-10/12", trace[1:],
			`status: 206 with Content-Range "bytes 1-10/12", want "bytes 1-10/11": clients cannot resume downloads`},
		{"no ranges", rest, 200, "", trace, "status: 200 OK to a range request, want 206: the server cannot resume downloads"},
		{"a range without asking", nil, 206, "Content-Range: bytes 0-10/11", trace, "status: 206 Partial Content, want 200"},
		{"too many requests", nil, 429, "", "",
			"status: 429 Too Many Requests, want 200: the server limits how often one client may ask; exempt this host from that"},
		{"nginx's limit", rest, 503, "", "",
			"status: 503 Service Unavailable right after a 200, want 206: the server seems to limit how often one client may ask; " +
				"exempt this host from that"},
		{"out of order", nil, 503, "", "", "status: 503 Service Unavailable, want 200"},
		{"gzip with a header", nil, 200, "Content-Encoding: gzip", "\x1f\x8b\x08",
			`body: the server encodes the file ("gzip"), which was not asked for`},
		{"an encoding that no one knows", nil, 200, "Content-Encoding: \x1b[2J" + strings.Repeat("x", 90), trace,
			`body: the server encodes the file ("\x1b[2J` + strings.Repeat("x", 36) + `..."), which was not asked for`},
		{"no encoding", nil, 200, "Content-Encoding: Identity", trace, ""},
		{"gzip that is not told", nil, 200, "", string(zipped(t, trace)),
			"body: the file is compressed with gzip, want an epoch second"},
		{"too long", nil, 200, "", strings.Repeat("1", 65), "body: more than 64 bytes, want an epoch second"},
	} {
		resp := &http.Response{StatusCode: test.status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(test.body))}
		if name, value, ok := strings.Cut(test.header, ": "); ok {
			resp.Header.Set(name, value)
		}
		body, err := readResponse(resp, test.of, time.Unix(1_800_000_000, 0))
		if got := errorText(err); got != test.want || err == nil && string(body) != test.body {
			t.Errorf("%s: %q, %q, want %q", test.name, body, got, test.want)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestDescribeAlert(t *testing.T) {
	remote := func(err error) error { return &net.OpError{Op: "remote error", Err: err} }
	for _, test := range []struct {
		err  error
		want string
	}{
		{remote(tls.AlertError(40)), "the server refused the handshake: it may offer no cipher"},
		{remote(tls.AlertError(71)), "the server refused the handshake: it may offer no cipher"},
		{remote(tls.AlertError(70)), "the server refused the handshake: it speaks neither TLS 1.2 nor 1.3"},
		{remote(tls.AlertError(80)), ""},
		{&net.OpError{Op: "local error", Err: tls.AlertError(40)}, ""},
		{errors.New("tls: handshake failure"), ""},
	} {
		if got := describeAlert(test.err); !strings.HasPrefix(got, test.want) || test.want == "" && got != "" {
			t.Errorf("%v: %q, want %q", test.err, got, test.want)
		}
	}
}

// TestDescribeClosed has net/http tell in two ways that the server closed the connection, as chance has it.
func TestDescribeClosed(t *testing.T) {
	t.Parallel()
	for _, err := range []error{io.EOF, errors.New("http: server closed idle connection")} {
		if got := describe(&url.Error{Op: "Get", URL: "http://a.example.net/", Err: err}); got != "the server closed the connection" {
			t.Errorf("%v is described as %q", err, got)
		}
	}
}
