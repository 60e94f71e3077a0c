package probe

import (
	"context"
	"crypto/x509"
	"fmt"
	"io/fs"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"mirrorpool/health/files"
)

// Files asks mirrors for the sizes of files, without fetching them.
type Files struct {
	transport *http.Transport
	userAgent func() string
}

// NewFiles returns a prober that trusts roots, or the system's certificates if roots is nil. userAgent returns the
// User-Agent of each request.
func NewFiles(roots *x509.CertPool, userAgent func() string) *Files {
	return &Files{newTransport(roots, dialPinned), userAgent}
}

// Size returns how many bytes a mirror's file at u has, as the mirror says at one address. The error is
// fs.ErrNotExist, or another one if the mirror does not say.
func (p *Files) Size(ctx context.Context, u *url.URL, addr netip.Addr) (int64, error) {
	size, err := p.Head(ctx, u, addr)
	if err == nil && size < 0 {
		return 0, fmt.Errorf("HEAD %s: no length", u)
	}
	return size, err
}

// Head asks a mirror at one address for its file at u. It returns how many bytes the file has, or -1 if the mirror has
// it and does not say. The error is fs.ErrNotExist if it lacks it, files.ErrRefused if clients get an error, and
// files.ErrBusy if it limits how often it may be asked; both of these for 503. It follows redirects to the same host;
// one to another host counts as having the file. Where a server refuses HEAD, the first byte is asked for.
func (p *Files) Head(ctx context.Context, u *url.URL, addr netip.Addr) (int64, error) {
	resp, err := p.request(ctx, http.MethodHead, u, addr)
	if err == nil && resp.StatusCode >= 400 && !decisive(resp.StatusCode) {
		resp, err = p.request(ctx, http.MethodGet, u, addr)
	}
	if err != nil {
		return 0, err
	}
	answer := func(kind error) error { return fmt.Errorf("%s %s: %s: %w", resp.Request.Method, u, resp.Status, kind) }
	switch resp.StatusCode {
	case http.StatusOK:
		return resp.ContentLength, nil
	case http.StatusPartialContent:
		return totalSize(resp.Header.Get("Content-Range")), nil
	case http.StatusNotFound, http.StatusGone:
		return 0, fs.ErrNotExist
	case http.StatusTooManyRequests:
		return 0, answer(files.ErrBusy)
	case http.StatusServiceUnavailable:
		return 0, fmt.Errorf("%w, %w", answer(files.ErrRefused), files.ErrBusy)
	case http.StatusRequestedRangeNotSatisfiable: // the file is empty
		return -1, nil
	}
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		return -1, nil // clients follow it there
	}
	return 0, answer(files.ErrRefused)
}

// decisive reports whether a status of HEAD is one that GET has, too.
func decisive(status int) bool {
	return slices.Contains([]int{
		http.StatusNotFound, http.StatusGone, http.StatusTooManyRequests, http.StatusServiceUnavailable,
	}, status)
}

// request asks a mirror for a file, or with GET for its first byte. The body is closed.
func (p *Files) request(ctx context.Context, method string, u *url.URL, addr netip.Addr) (*http.Response, error) {
	ctx = context.WithValue(ctx, pinned{}, addr)
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", p.userAgent())
	if method == http.MethodGet {
		req.Header.Set("Range", "bytes=0-0")
	}
	client := http.Client{Transport: p.transport, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		sameHost := strings.EqualFold(r.URL.Hostname(), u.Hostname())
		if len(via) > maxRedirects || !sameHost || u.Scheme == "https" && r.URL.Scheme != "https" {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	return resp, resp.Body.Close()
}

// totalSize returns the size of a file of which a part was sent (RFC 9110 section 14.4), or -1 if the header does not
// say.
func totalSize(contentRange string) int64 {
	_, total, _ := strings.Cut(contentRange, "/")
	if size, err := strconv.ParseInt(total, 10, 64); err == nil && size >= 0 {
		return size
	}
	return -1
}
