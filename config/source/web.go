package source

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"mirrorpool/config"
)

const (
	maxListSize    = config.MaxFileSize
	maxHeaderBytes = 64 << 10
	maxRedirects   = 3
	fetchTime      = 20 * time.Second // for one part, from the look-up of the name to the last byte
)

// userAgent says who asks, so that the owner of the web site knows whom to ask.
const userAgent = "mirrorpool (list of mirrors)"

// A web is a source behind a URL.
type web struct {
	url    *url.URL
	client *http.Client
	limit  time.Duration
}

// newWeb returns a reader of rawURL, which has to be https, or http on this machine. transport does the
// work; nil means a new one for the purpose.
func newWeb(rawURL string, transport http.RoundTripper) (*web, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("mirrors: not a URL: %q", rawURL)
	}
	if err := checkHop(u, false); err != nil {
		return nil, fmt.Errorf("mirrors: %v", err)
	}
	if transport == nil {
		transport = newTransport()
	}
	return &web{url: u, client: &http.Client{Transport: transport, CheckRedirect: checkRedirect}, limit: fetchTime}, nil
}

func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: fetchTime}).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    fetchTime,
		DisableCompression:     true, // the limit is on what is sent, and a few bytes can unpack to more
		DisableKeepAlives:      true, // the next look is minutes away
		MaxResponseHeaderBytes: maxHeaderBytes,
		ForceAttemptHTTP2:      true,
	}
}

// checkHop refuses a URL over which an attacker could replace the list. secure says that all hops so far
// were https.
func checkHop(u *url.URL, secure bool) error {
	switch {
	case u.User != nil:
		return errors.New("no user and no password in a URL")
	case u.Host == "":
		return fmt.Errorf("no host in %q", u)
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && secure:
		return fmt.Errorf("redirect from https to %q not followed: an attacker on the network path could replace the list", u)
	case u.Scheme == "http" && config.IsLoopback(u.Hostname()):
		return nil
	}
	return fmt.Errorf("want an https URL (http on this machine only), got %q", u)
}

func checkRedirect(next *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	return checkHop(next.URL, via[0].URL.Scheme == "https" || via[len(via)-1].URL.Scheme == "https")
}

func (w *web) read(ctx context.Context, suffix string, limit int, last *part) (*part, error) {
	ctx, cancel := context.WithTimeout(ctx, w.limit)
	defer cancel()
	u := *w.url
	u.Path, u.RawPath = u.Path+suffix, ""
	if w.url.RawPath != "" {
		u.RawPath = w.url.RawPath + suffix
	}
	p, err := w.get(ctx, u.String(), limit, last)
	var refused *RefusedError
	var status statusError
	switch {
	case err == nil:
		return p, nil
	case errors.As(err, &refused):
		return nil, refuse("%s: %v", &u, err)
	case suffix == signatureSuffix && errors.As(err, &status) && status == http.StatusNotFound:
		return nil, refuse("%s: %v: %s", &u, err, missingSignature)
	}
	return nil, fmt.Errorf("%s: %v", &u, explain(ctx, err))
}

// get fetches one part.
func (w *web) get(ctx context.Context, from string, limit int, last *part) (*part, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Accept-Encoding", "identity")
	conditional := last != nil && (last.etag != "" || last.modified != "")
	if conditional {
		setIf(req.Header, "If-None-Match", last.etag)
		setIf(req.Header, "If-Modified-Since", last.modified)
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotModified && conditional:
		return last, nil
	case resp.StatusCode != http.StatusOK:
		return nil, statusError(resp.StatusCode)
	case resp.Header.Get("Content-Encoding") != "" && resp.Header.Get("Content-Encoding") != "identity":
		return nil, fmt.Errorf("sent with Content-Encoding %q, which was not asked for", resp.Header.Get("Content-Encoding"))
	}
	data, err := readAll(resp, limit)
	if err != nil {
		return nil, err
	}
	p := &part{data: data, etag: resp.Header.Get("ETag"), modified: resp.Header.Get("Last-Modified")}
	if last != nil && bytes.Equal(data, last.data) && p.etag == last.etag && p.modified == last.modified {
		return last, nil
	}
	return p, nil
}

// A statusError is a status other than 200.
type statusError int

func (e statusError) Error() string {
	return fmt.Sprintf("want 200, got %d %s", int(e), http.StatusText(int(e)))
}

func setIf(h http.Header, key, value string) {
	if value != "" {
		h.Set(key, value)
	}
}

// readAll reads a response of at most limit bytes. Of what is longer it reads no more than that.
func readAll(resp *http.Response, limit int) ([]byte, error) {
	if resp.ContentLength > int64(limit) {
		return nil, refuse("want at most %d bytes, the server announces %d", limit, resp.ContentLength)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, int64(limit)+1))
	if err != nil {
		return nil, err
	}
	if len(data) > limit {
		return nil, refuse("want at most %d bytes, the server sends more", limit)
	}
	return data, nil
}

// explain says why a fetch failed, without the URL, which stands before it.
func explain(ctx context.Context, err error) error {
	var uerr *url.Error
	var cert *tls.CertificateVerificationError
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return errors.New("not all was there in time")
	case errors.As(err, &cert):
		return fmt.Errorf("the certificate is not valid: %v", cert.Err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the connection broke before all was sent")
	case errors.As(err, &uerr):
		return uerr.Err
	}
	return err
}

// isWeb reports whether source is a URL rather than a path.
func isWeb(source string) bool { return strings.Contains(source, "://") }
