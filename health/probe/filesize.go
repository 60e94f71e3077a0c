package probe

import (
	"context"
	"crypto/x509"
	"fmt"
	"io/fs"
	"net/http"
	"net/netip"
	"net/url"
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
// it and does not say; the error is fs.ErrNotExist if it lacks it, and files.ErrBusy if it limits how often it may be
// asked. It follows redirects to the same host; one to another host counts as having the file.
func (p *Files) Head(ctx context.Context, u *url.URL, addr netip.Addr) (int64, error) {
	ctx = context.WithValue(ctx, pinned{}, addr)
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, u.String(), nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("User-Agent", p.userAgent())
	client := http.Client{Transport: p.transport, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		sameHost := strings.EqualFold(r.URL.Hostname(), u.Hostname())
		if len(via) > maxRedirects || !sameHost || u.Scheme == "https" && r.URL.Scheme != "https" {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotFound, resp.StatusCode == http.StatusGone:
		return 0, fs.ErrNotExist
	case resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode == http.StatusServiceUnavailable:
		return 0, fmt.Errorf("HEAD %s: %s: %w", u, resp.Status, files.ErrBusy)
	case resp.StatusCode == http.StatusMethodNotAllowed, resp.StatusCode == http.StatusNotImplemented,
		resp.StatusCode >= 300 && resp.StatusCode < 400:
		return -1, nil // it knows no HEAD, or has the file elsewhere: clients follow it there
	case resp.StatusCode != http.StatusOK:
		return 0, fmt.Errorf("HEAD %s: %s", u, resp.Status)
	}
	return resp.ContentLength, nil
}
