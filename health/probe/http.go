package probe

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"mirrorpool/health"
)

const (
	maxTraceBytes  = 64       // an epoch second has 10 digits
	maxHeaderBytes = 64 << 10 // of a response
	maxRedirects   = 5
)

// newTransport returns a transport that opens a new connection for each request, because a probe has to see what a new
// client would.
func newTransport(
	roots *x509.CertPool, dial func(ctx context.Context, network, hostport string) (net.Conn, error),
) *http.Transport {
	return &http.Transport{
		DialContext:            dial,
		TLSClientConfig:        tlsConfig(roots),
		DisableKeepAlives:      true,
		DisableCompression:     true, // a compressed response could expand without bound
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
}

type pinned struct{} // the key of the context value that holds the address to connect to

// dialPinned connects to the address under test, whatever host the URL names.
func dialPinned(ctx context.Context, network, hostport string) (net.Conn, error) {
	addr, ok := ctx.Value(pinned{}).(netip.Addr)
	if !ok {
		return nil, fmt.Errorf("no address is pinned for %q", hostport)
	}
	_, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return nil, err
	}
	return dialAddress(ctx, addr, port)
}

// dialAddress connects to one address, by the route that ctx has from [withRoute].
func dialAddress(ctx context.Context, addr netip.Addr, port string) (net.Conn, error) {
	r, _ := ctx.Value(routeKey{}).(route)
	if r.Proxy != "" {
		return r.dialProxy(ctx, net.JoinHostPort(addr.String(), port))
	}
	d, err := r.dialer(addr)
	if err != nil {
		return nil, err
	}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(addr.String(), port))
	if err != nil && unreachable(err) && !routed(addr) {
		return nil, errNoRoute
	}
	return conn, err
}

// fetchTrace fetches t's trace file. In role DNS it also requests a part of the file: the pool's oldest clients resume
// downloads, and a server without ranges would corrupt them.
func (p *Prober) fetchTrace(ctx context.Context, t health.Target, o *health.Observation) error {
	ctx = context.WithValue(ctx, pinned{}, t.Address)
	f := fetch{transport: p.transport, now: p.now, target: &t, seen: o}
	f.mayFollow = func(to *http.Request, via []*http.Request) error {
		return checkRedirect(to.URL, via[len(via)-1].URL, len(via), t)
	}
	body, err := f.get(ctx, t.URL, nil)
	if err != nil {
		return err
	}
	if o.Trace, err = readTrace(body, p.now()); err != nil {
		return err
	}
	if t.Role != health.DNS {
		return nil
	}
	rest := &part{first: 1, size: len(body)}
	got, err := f.get(ctx, t.URL, rest)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, body[rest.first:]) {
		return &stepError{health.StepBody, errors.New("the answer to a range request holds other bytes than the file")}
	}
	return nil
}

// A fetch reads one small file, perhaps several times.
type fetch struct {
	transport *http.Transport
	mayFollow func(to *http.Request, via []*http.Request) error
	now       func() time.Time
	target    *health.Target
	seen      *health.Observation // receives certificates and timings
}

// get reads the file, or a part of it unless that is nil.
func (f *fetch) get(ctx context.Context, u *url.URL, of *part) ([]byte, error) {
	if f.target.Await != nil {
		f.seen.Awaited += f.target.Await(ctx)
	}
	if limit := f.target.RequestTimeout; limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	progress := progress{now: f.now, step: health.StepRequest}
	defer func() { addTimings(&f.seen.Timings, progress.end()) }()
	ctx = httptrace.WithClientTrace(ctx, progress.hooks())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, &stepError{health.StepRequest, err}
	}
	req.Header.Set("User-Agent", f.target.UserAgent)
	if of != nil {
		req.Header.Set("Range", of.header())
	}
	client := http.Client{Transport: f.transport, CheckRedirect: f.mayFollow}
	resp, err := client.Do(req)
	if err != nil {
		noteExpired(err, f.seen)
		noteLate(ctx, err, f.seen, f.now)
		return nil, progress.blame(err)
	}
	defer resp.Body.Close()
	noteCertificate(resp.TLS, f.seen)
	f.seen.Status = resp.StatusCode
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		f.seen.Date = date
	}
	f.seen.TLSWarning = cmp.Or(f.seen.TLSWarning, tlsWarning(resp.TLS))
	body, err := readResponse(resp, of, f.now())
	noteLate(ctx, err, f.seen, f.now)
	return body, err
}

// checkRedirect says whether a probe may follow a redirect: only to the same host or the mirror's own,
// never from https to http. All hops go to the pinned address, so none can lead into another network.
func checkRedirect(to, from *url.URL, hops int, t health.Target) error {
	if err := checkScheme(to, from, hops); err != nil {
		return err
	}
	host := strings.ToLower(to.Hostname())
	same := func(host string) bool { return host == strings.ToLower(t.URL.Hostname()) || host == t.OwnHost }
	switch {
	case same(host):
		return nil
	case same(strings.TrimSuffix(host, ".")):
		return refuseRedirect(to, "its host ends in a dot, which is in no certificate")
	}
	return refuseRedirect(to, "neither the same host nor the mirror's own")
}

// checkScheme says whether a redirect may be followed as far as its scheme and their number are concerned.
func checkScheme(to, from *url.URL, hops int) error {
	switch {
	case hops > maxRedirects:
		return refuseRedirect(to, fmt.Sprintf("more than %d redirects", maxRedirects))
	case to.Scheme != "http" && to.Scheme != "https":
		return refuseRedirect(to, "neither http nor https")
	case from.Scheme == "https" && to.Scheme == "http":
		return refuseRedirect(to, "from https to http")
	}
	return nil
}

func refuseRedirect(to *url.URL, why string) error {
	return &stepError{health.StepRequest, fmt.Errorf("redirected to %s: %s", shorten(to.Redacted(), 200), why)}
}
