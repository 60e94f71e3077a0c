package probe

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"mirrorpool/health"
)

// A part is what a range request asks for: a file from its first byte on, to its end.
type part struct{ first, size int }

// header is the value of Range.
func (p *part) header() string { return fmt.Sprintf("bytes=%d-", p.first) }

// readResponse returns the body of a response to a request for a file of at most maxTraceBytes, or for a part of it.
// The error says what would fail for a client.
func readResponse(resp *http.Response, of *part, now time.Time) ([]byte, error) {
	if err := checkStatus(resp.StatusCode, of); err != nil {
		if wait, busy := retryAfter(resp, of, now); busy {
			err = &busyError{err, wait}
		}
		return nil, &stepError{health.StepStatus, err}
	}
	if of != nil {
		if err := of.check(resp.Header.Get("Content-Range")); err != nil {
			return nil, &stepError{health.StepStatus, err}
		}
	}
	if coding := resp.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		err := fmt.Errorf("the server encodes the file (%q), which was not asked for", shorten(coding, 40))
		return nil, &stepError{health.StepBody, err}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxTraceBytes+1))
	switch {
	case err != nil:
		return nil, &stepError{health.StepBody, &brokenOff{err}}
	case bytes.HasPrefix(body, []byte("\x1f\x8b")):
		return nil, &stepError{health.StepBody, errors.New("the file is compressed with gzip, want an epoch second")}
	case len(body) > maxTraceBytes:
		return nil, &stepError{health.StepBody, fmt.Errorf("more than %d bytes, want an epoch second", maxTraceBytes)}
	}
	return body, nil
}

// A busyError is the status of a server that works, and has had too many requests.
type busyError struct {
	error
	retryAfter time.Duration // when it wants the next one
}

// Unwrap returns the error with the status.
func (e *busyError) Unwrap() error { return e.error }

const (
	usualRetryAfter = 5 * time.Second // where a server that is busy does not say
	minRetryAfter   = time.Second
	maxRetryAfter   = time.Minute
)

// retryAfter reports whether a response says that the server is busy, and when it wants the next request (RFC 9110
// section 10.2.3, RFC 6585 section 4). A 503 right after a 200 comes from a limit of requests, as nginx has it.
func retryAfter(resp *http.Response, of *part, now time.Time) (wait time.Duration, busy bool) {
	text := strings.TrimSpace(resp.Header.Get("Retry-After"))
	switch resp.StatusCode {
	case http.StatusTooManyRequests:
	case http.StatusServiceUnavailable:
		if text == "" && of == nil {
			return 0, false
		}
	default:
		return 0, false
	}
	wait = usualRetryAfter
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, minRetryAfter), maxRetryAfter), true
}

// checkStatus returns an error unless a status is the one for a whole file, or for a part of it.
func checkStatus(got int, of *part) error {
	want := http.StatusOK
	if of != nil {
		want = http.StatusPartialContent
	}
	text := strings.TrimSpace(strconv.Itoa(got) + " " + http.StatusText(got))
	switch {
	case got == want:
		return nil
	case of != nil && got == http.StatusOK:
		return fmt.Errorf("%s to a range request, want 206: the server cannot resume downloads", text)
	case got == http.StatusTooManyRequests:
		return fmt.Errorf("%s, want %d: the server limits how often one client may ask; exempt this host from that",
			text, want)
	case of != nil && got == http.StatusServiceUnavailable:
		return fmt.Errorf("%s right after a 200, want %d: the server seems to limit how often one client may ask; "+
			"exempt this host from that", text, want)
	}
	return fmt.Errorf("%s, want %d", text, want)
}

// check returns an error unless a response's Content-Range says what was asked for (RFC 9110 section 14.4): clients
// that resume a download rely on it, and give up otherwise.
func (p *part) check(contentRange string) error {
	const problem = ": clients cannot resume downloads"
	last := p.size - 1
	want := fmt.Sprintf("bytes %d-%d/%d", p.first, last, p.size)
	got := strings.TrimSpace(contentRange)
	switch {
	case got == "":
		return fmt.Errorf("206 without Content-Range, want %q%s", want, problem)
	case strings.EqualFold(got, want), strings.EqualFold(got, fmt.Sprintf("bytes %d-%d/*", p.first, last)):
		return nil
	}
	return fmt.Errorf("206 with Content-Range %q, want %q%s", shorten(got, 60), want, problem)
}
