package probe

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"mirrorpool/health/files"
	"mirrorpool/health/files/verify"
	"mirrorpool/health/rsync"
)

// maxSumBytes bounds a list of digests: that of five million files.
const maxSumBytes = 1 << 30

// A conn is a connection to a daemon.
type conn = net.Conn

// An Origin reads what the project publishes. The operator names where, so it may be anywhere, an inside network
// included.
type Origin struct {
	client    http.Client
	userAgent func() string

	mu         sync.Mutex
	validators map[string]validator // of lists that were read, by URL
}

// A validator says which version of a list was read last (RFC 9110 section 8.8).
type validator struct{ etag, modified string }

// NewOrigin returns a reader that trusts roots, or the system's certificates if roots is nil.
func NewOrigin(roots *x509.CertPool, userAgent func() string) *Origin {
	o := &Origin{userAgent: userAgent, validators: map[string]validator{}}
	o.client = http.Client{
		Transport: newTransport(roots, new(net.Dialer).DialContext),
		CheckRedirect: func(to *http.Request, via []*http.Request) error {
			return checkScheme(to.URL, via[len(via)-1].URL, len(via))
		},
	}
	return o
}

// Read adds what an origin publishes: a folder, an rsync URL, or the URL of a list of digests. The error is
// files.ErrUnchanged if a web server says that its list is the one that was read last.
func (o *Origin) Read(ctx context.Context, origin string, c *files.Collector) error {
	switch {
	case !strings.Contains(origin, "://"):
		c.HasTimes = true
		return files.ReadFolder(ctx, origin, c)
	case strings.HasPrefix(origin, "rsync:"):
		c.HasTimes = true
		return readRsync(ctx, origin, c)
	}
	return o.readSums(ctx, origin, c)
}

func readRsync(ctx context.Context, origin string, c *files.Collector) error {
	u, err := rsync.ParseURL(origin)
	if err != nil {
		return err
	}
	tree := rsync.Tree{Module: u.Module, Path: u.Path, FollowLinks: true, MaxEntries: files.MaxFiles, MaxBytes: maxListBytes}
	dial := func(ctx context.Context) (conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(u.Host, u.Port))
	}
	return listTree(ctx, dial, tree, func(e rsync.Entry) error {
		if e.Folder {
			return c.AddFolder(e.Path)
		}
		return c.Add(e.Path, e.Size, e.Time)
	})
}

// readSums reads a list of digests, unless it is the one that was read last.
func (o *Origin) readSums(ctx context.Context, origin string, c *files.Collector) error {
	var last validator
	if !c.Anew {
		o.mu.Lock()
		last = o.validators[origin]
		o.mu.Unlock()
	}
	headers := map[string]string{"If-None-Match": last.etag, "If-Modified-Since": last.modified}
	resp, err := o.request(ctx, http.MethodGet, origin, headers)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotModified && last != validator{}:
		return files.ErrUnchanged
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("GET %s: %s", origin, resp.Status)
	}
	if err := files.ReadSums(io.LimitReader(resp.Body, maxSumBytes), c); err != nil {
		return fmt.Errorf("GET %s: %w", origin, err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.validators = map[string]validator{origin: {resp.Header.Get("ETag"), resp.Header.Get("Last-Modified")}}
	return nil
}

func (o *Origin) request(ctx context.Context, method, target string, headers map[string]string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", o.userAgent())
	for name, value := range headers {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	resp, err := o.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %s", method, target, describe(err))
	}
	return resp, nil
}

// Ask asks an origin for a path, or if it is not a folder, the server at the fallback. The error is fs.ErrNotExist if
// the origin lacks it, and files.ErrCannotAsk if it cannot be asked.
func (o *Origin) Ask(ctx context.Context, origin, fallback, path string) error {
	switch {
	case !strings.Contains(origin, "://"):
		return files.StatFolder(origin, path)
	case fallback != "":
		return o.askWeb(ctx, fallback, path)
	case strings.HasPrefix(origin, "rsync:"):
		return askRsync(ctx, origin, path)
	}
	return files.ErrCannotAsk
}

// Open opens a file of an origin: if that is not a folder, at the server at the fallback.
func (o *Origin) Open(ctx context.Context, origin, fallback, path string) (io.ReadCloser, error) {
	if !strings.Contains(origin, "://") {
		return files.OpenInFolder(origin, path)
	}
	target := fallback + (&url.URL{Path: path}).EscapedPath()
	resp, err := o.request(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("GET %s: %s", target, resp.Status)
	}
	return resp.Body, nil
}

// Part returns a part of a file of an origin: if that is not a folder, from the server at the fallback. The error is
// verify.ErrNoOrigin if there is neither.
func (o *Origin) Part(ctx context.Context, origin, fallback, path string, offset, length int64) ([]byte, error) {
	part := make([]byte, length)
	if origin != "" && !strings.Contains(origin, "://") {
		f, err := files.OpenInFolder(origin, path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		_, err = f.ReadAt(part, offset)
		return part, err
	}
	if fallback == "" {
		return nil, verify.ErrNoOrigin
	}
	target := fallback + (&url.URL{Path: path}).EscapedPath()
	resp, err := o.request(ctx, http.MethodGet, target, map[string]string{"Range": fmt.Sprintf("bytes=%d-%d", offset, offset+length-1)})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusPartialContent {
		return nil, fmt.Errorf("GET %s: %s, want a part of it", target, resp.Status)
	}
	_, err = io.ReadFull(resp.Body, part)
	return part, err
}

func (o *Origin) askWeb(ctx context.Context, fallback, path string) error {
	target := fallback + (&url.URL{Path: path}).EscapedPath()
	resp, err := o.request(ctx, http.MethodHead, target, nil)
	if err != nil {
		return err
	}
	resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusNotFound, http.StatusGone:
		return fs.ErrNotExist
	}
	return fmt.Errorf("HEAD %s: %s", target, resp.Status)
}

func askRsync(ctx context.Context, origin, path string) error {
	u, err := rsync.ParseURL(origin)
	if err != nil {
		return err
	}
	u = u.Join(path)
	c, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(u.Host, u.Port))
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = rsync.Stat(ctx, c, u.Module, u.Path)
	if errors.Is(err, rsync.ErrNoFile) {
		return fs.ErrNotExist
	}
	return err
}
