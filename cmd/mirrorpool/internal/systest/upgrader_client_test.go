//go:build linux

package systest

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"encoding/json"

	"github.com/miekg/dns"
)

// A tailsUpgrader replays a run of Tails Upgrader, request by request, as its source and its traffic show it. Times are
// scaled: what takes the real one a second takes it a unit.
type tailsUpgrader struct {
	*clients
	unit  time.Duration
	cache *resolverCache
}

const (
	upgraderTries     = 6
	upgraderTimeout   = 60 // units that a request may take
	upgraderRedirects = 7
	maxListBytes      = 8192 // of mirrors.json
	exitCache         = 300  // units for which an exit of Tor keeps what a name resolves to, at least
)

// A listedMirror is an entry of mirrors.json.
type listedMirror struct {
	URLPrefix string `json:"url_prefix"`
	Weight    int    `json:"weight"`
}

// upTo58 is a run of the versions up to 5.8: one mirror is picked from the list for the whole run and asked five times,
// and then the pool's name.
func (u *tailsUpgrader) upTo58(ctx context.Context, list string) error {
	mirrors, err := u.fetchList(ctx, list)
	if err != nil {
		return fmt.Errorf("no list, and so no upgrade: %w", err)
	}
	mirror, err := pickByWeight(mirrors)
	if err != nil {
		return err
	}
	return u.download(ctx, func(try int) string {
		if try == upgraderTries-1 {
			return "http://dl.example.org/tails/" + boxImage
		}
		return mirror.URLPrefix + boxImage
	})
}

// from59 is a run of the versions from 5.9 on, which ask a redirector six times.
func (u *tailsUpgrader) from59(ctx context.Context, redirector string) error {
	return u.download(ctx, func(int) string { return redirector + boxImage })
}

// fetchList fetches mirrors.json as libcurl does for it: TLS 1.2 or later, no redirect, no User-Agent.
func (u *tailsUpgrader) fetchList(ctx context.Context, address string) ([]listedMirror, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "*/*")
	req.Header.Set("User-Agent", "")
	resp, err := u.web(false, false).Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", address, resp.Status)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxListBytes+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxListBytes {
		return nil, fmt.Errorf("%s: over %d bytes", address, maxListBytes)
	}
	var list struct {
		Mirrors []listedMirror `json:"mirrors"`
	}
	err = json.Unmarshal(text, &list)
	return list.Mirrors, err
}

// pickByWeight draws a mirror.
func pickByWeight(mirrors []listedMirror) (listedMirror, error) {
	total := 0
	for _, m := range mirrors {
		total += m.Weight
	}
	if total == 0 {
		return listedMirror{}, errors.New("no mirror has a weight")
	}
	at := rand.IntN(total)
	for _, m := range mirrors {
		if at -= m.Weight; at < 0 {
			return m, nil
		}
	}
	panic("unreachable")
}

// download asks for the image until a response is whole, with pauses of 1, 2, 4, 8 and 16 units. What has come in is
// kept and asked for no more, and only at the end is it known whether it is the image.
func (u *tailsUpgrader) download(ctx context.Context, target func(try int) string) error {
	var have []byte
	var errs []error
	for try := range upgraderTries {
		if try > 0 {
			pause := time.NewTimer(u.unit << (try - 1))
			select {
			case <-pause.C:
			case <-ctx.Done():
				pause.Stop()
				return ctx.Err()
			}
		}
		limit, cancel := context.WithTimeout(ctx, upgraderTimeout*u.unit)
		more, err := u.get(limit, target(try), len(have), try > 0)
		cancel()
		have = append(have, more...)
		if err == nil {
			if sha256.Sum256(have) != sha256.Sum256(u.serve) {
				return fmt.Errorf("%d bytes, which are not those of the image (%v)", len(have), errs)
			}
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// get sends one request, and follows redirects. It returns what has come of the body, also if it is not whole. Without
// ranged it asks for all.
func (u *tailsUpgrader) get(ctx context.Context, target string, from int, ranged bool) ([]byte, error) {
	for range 1 + upgraderRedirects {
		resp, conn, err := u.request(ctx, target, from, ranged)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode >= 300 && resp.StatusCode < 400 && resp.Header.Get("Location") != "" {
			conn.Close()
			base, err := url.Parse(target)
			if err != nil {
				return nil, err
			}
			next, err := base.Parse(resp.Header.Get("Location"))
			if err != nil {
				return nil, err
			}
			target = next.String()
			continue
		}
		defer conn.Close()
		if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusPartialContent {
			return nil, errors.New(resp.Status)
		}
		return io.ReadAll(io.LimitReader(resp.Body, 1<<20)) // a 200 is appended too, and spoils the file
	}
	return nil, errors.New("too many redirects")
}

// request sends a request over a connection of its own, with libwww-perl's headers in their order.
func (u *tailsUpgrader) request(ctx context.Context, target string, from int, ranged bool) (*http.Response, net.Conn, error) {
	at, err := url.Parse(target)
	if err != nil {
		return nil, nil, err
	}
	conn, err := u.connect(ctx, at)
	if err != nil {
		return nil, nil, err
	}
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	text := fmt.Sprintf("GET %s HTTP/1.1\r\nTE: deflate,gzip;q=0.3\r\nConnection: TE, close\r\nHost: %s\r\n", at.RequestURI(),
		at.Host)
	if ranged {
		text += fmt.Sprintf("Range: bytes=%d-\r\n", from)
	}
	text += "User-Agent: libwww-perl/6.68\r\n\r\n"
	if _, err = io.WriteString(conn, text); err == nil {
		var resp *http.Response
		if resp, err = http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
			return resp, conn, nil
		}
	}
	conn.Close()
	return nil, nil, err
}

// connect connects to where a URL leads, over TLS without ALPN and without a look at the certificate.
func (u *tailsUpgrader) connect(ctx context.Context, at *url.URL) (net.Conn, error) {
	port := at.Port()
	if port == "" {
		port = map[string]string{"http": u.ports.http, "https": u.ports.https}[at.Scheme]
	}
	addr, err := u.cache.resolve(ctx, u, at.Hostname())
	if err != nil {
		return nil, err
	}
	conn, err := u.host.dial(ctx, "tcp", net.JoinHostPort(addr.String(), port))
	if err != nil || at.Scheme != "https" {
		return conn, err
	}
	secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: at.Hostname()})
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secure, nil
}

// A resolverCache is what exits of Tor resolve for clients: a name's first address, for all who use the same exit.
type resolverCache struct {
	mu    sync.Mutex
	until map[string]time.Time
	addrs map[string]netip.Addr
}

func newResolverCache() *resolverCache {
	return &resolverCache{until: map[string]time.Time{}, addrs: map[string]netip.Addr{}}
}

func (r *resolverCache) resolve(ctx context.Context, u *tailsUpgrader, host string) (netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr, nil
	}
	if host != "dl.example.org" && host != "static.example.org" {
		addr, ok := u.lookup(host, false)
		if !ok {
			return addr, fmt.Errorf("%s has no address", host)
		}
		return addr, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Now().Before(r.until[host]) {
		return r.addrs[host], nil
	}
	addrs, err := u.ask(ctx, u.hosts["resolver"].v4, dns.TypeA)
	if err != nil {
		return netip.Addr{}, err
	}
	r.addrs[host], r.until[host] = netip.MustParseAddr(addrs[0]), time.Now().Add(exitCache*u.unit)
	return r.addrs[host], nil
}
