package probe

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"mirrorpool/health/files"
	"mirrorpool/health/files/verify"
)

// headerTime bounds the wait for the headers of a mirror's file.
const headerTime = 30 * time.Second

// Copies reads files from mirrors as clients do.
type Copies struct {
	transport *http.Transport
	userAgent func() string
}

// NewCopies returns a reader that trusts roots, or the system's certificates if roots is nil. userAgent returns the
// User-Agent of each request.
func NewCopies(roots *x509.CertPool, userAgent func() string) *Copies {
	t := newTransport(roots, dialPinned)
	t.ResponseHeaderTimeout = headerTime
	return &Copies{t, userAgent}
}

// Fetch begins to read a mirror's file at u from one address: length bytes from an offset, or if length is 0, all. The
// caller closes the body. The error is fs.ErrNotExist if the mirror lacks the file. It follows redirects to the same
// host; one to another host is an error, because what is there is not the mirror's copy.
func (c *Copies) Fetch(ctx context.Context, u *url.URL, addr netip.Addr, offset, length int64) (*verify.Copy, error) {
	req, err := http.NewRequestWithContext(context.WithValue(ctx, pinned{}, addr), http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", c.userAgent())
	req.Header.Set("Accept", "*/*")
	req.Header.Set("Accept-Encoding", "identity")
	if length > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, offset+length-1))
	}
	client := http.Client{Transport: c.transport, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if err := checkScheme(r.URL, via[len(via)-1].URL, len(via)); err != nil {
			return err
		}
		if !strings.EqualFold(r.URL.Hostname(), u.Hostname()) {
			return errOtherHost
		}
		return nil
	}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("GET %s: %s", u, describe(err))
	}
	copied, err := copyOf(resp, offset, length)
	if err != nil {
		resp.Body.Close()
		return nil, fmt.Errorf("GET %s: %w", u, err)
	}
	return copied, nil
}

var errOtherHost = errors.New("it leads to another host")

// copyOf takes a response for a copy of a file. It is an error unless the response has it, as it was asked for.
func copyOf(resp *http.Response, offset, length int64) (*verify.Copy, error) {
	switch {
	case resp.StatusCode == http.StatusNotFound, resp.StatusCode == http.StatusGone:
		return nil, fs.ErrNotExist
	case resp.StatusCode != http.StatusOK && (resp.StatusCode != http.StatusPartialContent || length == 0):
		return nil, fmt.Errorf("%w: %s", files.ErrRefused, resp.Status)
	case !isPlain(resp):
		return nil, fmt.Errorf("it has the encoding %q", resp.Header.Get("Content-Encoding"))
	}
	copied := &verify.Copy{Body: resp.Body, Size: resp.ContentLength, Whole: resp.StatusCode == http.StatusOK}
	if want := fmt.Sprintf("bytes %d-%d/", offset, offset+length-1); !copied.Whole && !strings.HasPrefix(resp.Header.Get("Content-Range"), want) {
		return nil, fmt.Errorf("it has the range %q, want %q", resp.Header.Get("Content-Range"), want)
	}
	if resp.TLS != nil && len(resp.TLS.PeerCertificates) > 0 {
		copied.Certificate = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: resp.TLS.PeerCertificates[0].Raw}))
	}
	return copied, nil
}

// isPlain reports whether a body is the bytes of the file. Some servers say of a file such as x.tar.gz, which they send
// as it is, that it is encoded.
func isPlain(resp *http.Response) bool {
	switch strings.ToLower(resp.Header.Get("Content-Encoding")) {
	case "", "identity":
		return true
	case "gzip", "x-gzip":
		path := resp.Request.URL.Path
		return strings.HasSuffix(path, ".gz") || strings.HasSuffix(path, ".tgz")
	}
	return false
}
