//go:build linux

package systest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mirrorpool/testdata/testbed"

	"github.com/miekg/dns"
)

// An event is something that a client has been told, or has tried.
type event struct {
	at     time.Time
	ended  time.Time
	client string   // such as "dns ns1 A", "redirect ns1 v4", "curl"
	to     []string // addresses or prefixes that it was sent to
	failed string   // why it got nothing; empty if it did
}

// download reports whether the client is one that fetches a file, rather than looks where it is sent to.
func (e *event) download() bool {
	return !strings.HasPrefix(e.client, "dns ") && !strings.HasPrefix(e.client, "redirect ")
}

// A diary is what clients have seen.
type diary struct {
	mu     sync.Mutex
	events []event
}

func (d *diary) add(e event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.events = append(d.events, e)
}

// between returns what was seen from one time to another.
func (d *diary) between(from, to time.Time) []event {
	d.mu.Lock()
	defer d.mu.Unlock()
	var found []event
	for _, e := range d.events {
		if !e.at.Before(from) && e.at.Before(to) {
			found = append(found, e)
		}
	}
	return found
}

// clients are all who ask in a box, again and again, until they are stopped.
type clients struct {
	*box
	*diary
	host  *host
	roots *x509.CertPool
}

// newClients makes clients that ask for nothing by themselves.
func (b *box) newClients() *clients {
	b.t.Helper()
	c := &clients{box: b, diary: &diary{}, host: b.hosts["client"], roots: x509.NewCertPool()}
	pem, err := os.ReadFile(b.caFile)
	if err != nil || !c.roots.AppendCertsFromPEM(pem) {
		b.t.Fatal("no certificates of the test authority: ", err)
	}
	return c
}

// startClients starts them. They end with the test, or with the returned function.
func (b *box) startClients() (c *clients, stop func()) {
	b.t.Helper()
	c = b.newClients()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	again := func(every time.Duration, client string, try func(context.Context) ([]string, error)) {
		running.Go(func() {
			tick := time.NewTicker(every)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				e := event{at: time.Now(), client: client}
				limit, done := context.WithTimeout(ctx, 8*time.Second)
				var err error
				e.to, err = try(limit)
				e.ended = time.Now()
				done()
				if ctx.Err() != nil {
					return
				}
				if err != nil {
					e.failed = err.Error()
				}
				c.add(e)
			}
		})
	}
	qtypes := []uint16{dns.TypeA, dns.TypeAAAA}
	if b.local {
		qtypes = qtypes[:1] // there is IPv4 only
	}
	for _, ns := range []string{"ns1", "ns2"} {
		for _, qtype := range qtypes {
			again(50*time.Millisecond, fmt.Sprintf("dns %s %s", ns, dns.TypeToString[qtype]), func(ctx context.Context) ([]string, error) {
				return c.ask(ctx, b.hosts[ns].v4, qtype)
			})
		}
		for _, addr := range b.hosts[ns].addresses() {
			family := "v4"
			if addr.Is6() {
				family = "v6"
			}
			again(100*time.Millisecond, fmt.Sprintf("redirect %s %s", ns, family), func(ctx context.Context) ([]string, error) {
				return c.redirected(ctx, addr)
			})
		}
		again(500*time.Millisecond, "curl", func(ctx context.Context) ([]string, error) { return c.curl(ctx, b.hosts[ns].v4) })
	}
	for _, qtype := range qtypes {
		again(100*time.Millisecond, "dns resolver "+dns.TypeToString[qtype], func(ctx context.Context) ([]string, error) {
			return c.ask(ctx, b.hosts["resolver"].v4, qtype)
		})
	}
	again(200*time.Millisecond, "last chance", c.lastChance)
	again(500*time.Millisecond, "upgrader", c.upgrader)
	again(time.Second, "wget", c.wget)
	again(time.Second, "dns dig", c.dig)
	stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	b.t.Cleanup(stop)
	return c, stop
}

// ask asks a server for the pool's addresses. An answer without any is an error.
func (c *clients) ask(ctx context.Context, server netip.Addr, qtype uint16) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	raw, err := c.host.dial(ctx, "udp", net.JoinHostPort(server.String(), c.ports.dns))
	if err != nil {
		return nil, err
	}
	conn := &dns.Conn{Conn: raw}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	if err := conn.WriteMsg(new(dns.Msg).SetQuestion("dl.example.org.", qtype)); err != nil {
		return nil, err
	}
	resp, err := conn.ReadMsg()
	if err != nil {
		return nil, err
	}
	var addrs []string
	for _, rr := range resp.Answer {
		if addr, rrtype := testbed.AddressOf(rr); rrtype == qtype {
			addrs = append(addrs, addr.String())
		} else {
			return addrs, fmt.Errorf("%s: %v in an answer to %s", errWrongType, rr, dns.TypeToString[qtype])
		}
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("%s: %s", errEmpty, dns.RcodeToString[resp.Rcode])
	}
	return addrs, nil
}

const errEmpty, errWrongType = "an empty answer", "a record of the wrong type"

// web is a client that goes where names in the box lead, over one family, and follows redirects if follow is set.
func (c *clients) web(v6, follow bool) *http.Client {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: c.roots}, TLSHandshakeTimeout: 3 * time.Second,
		ResponseHeaderTimeout: 4 * time.Second,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
			defer cancel()
			name, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			if _, err := netip.ParseAddr(name); err != nil {
				addr, ok := c.lookup(name, v6)
				if !ok {
					return nil, fmt.Errorf("%s has no address", name)
				}
				address = net.JoinHostPort(addr.String(), port)
			}
			return c.host.dial(ctx, network, address)
		},
	}}
	if !follow {
		client.CheckRedirect = noRedirect
	}
	return client
}

// redirected asks a redirector.
func (c *clients) redirected(ctx context.Context, server netip.Addr) ([]string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url(server.String(), boxImage), nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.web(false, false).Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusFound {
		return nil, fmt.Errorf("%s: %s", errEmpty, resp.Status)
	}
	prefix, ok := strings.CutSuffix(resp.Header.Get("Location"), boxImage)
	if !ok {
		return nil, fmt.Errorf("sent to %q", resp.Header.Get("Location"))
	}
	return []string{prefix}, nil
}

// url is where a host serves a file over http.
func (c *clients) url(host, path string) string {
	return "http://" + net.JoinHostPort(host, c.ports.http) + "/" + path
}

// rangeStart is where the Upgrader resumes its download.
const rangeStart = 1000

// resume fetches the rest of the image, as the Upgrader does, from a URL; with another Host if one is given.
func (c *clients) resume(ctx context.Context, url, hostHeader string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Host = hostHeader
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-", rangeStart))
	resp, err := c.web(false, true).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusPartialContent {
		return fmt.Errorf("%s, want a part", resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if !bytes.Equal(body, c.serve[rangeStart:]) {
		return fmt.Errorf("%d bytes, which are not those of the image", len(body))
	}
	return nil
}

// lastChance is what the Upgrader does when all else has failed: it resolves the pool's name, takes the first address,
// and asks there for the pool's name.
func (c *clients) lastChance(ctx context.Context) ([]string, error) {
	addrs, err := c.ask(ctx, c.hosts["resolver"].v4, dns.TypeA)
	if err != nil {
		return nil, err
	}
	return addrs[:1], c.resume(ctx, c.url(addrs[0], "tails/"+boxImage), "dl.example.org")
}

// upgrader is a run of Tails Upgrader up to 5.8, with the list that mirrorpool gives, by way of the web site.
func (c *clients) upgrader(ctx context.Context) ([]string, error) {
	u := &tailsUpgrader{clients: c, unit: 20 * time.Millisecond, cache: newResolverCache()}
	return nil, u.upTo58(ctx, "https://"+c.hosts["web"].at(c.ports.https)+"/legacy/mirrors.json")
}

// run runs a program on the client's host and returns what it prints.
func (c *clients) run(ctx context.Context, args ...string) ([]byte, error) {
	out, err := c.host.command(ctx, args...).Output()
	if err != nil {
		return out, fmt.Errorf("%s: %w", args[0], err)
	}
	return out, nil
}

// fetched says whether what a program printed is the image.
func (c *clients) fetched(out []byte, err error) error {
	if err == nil && !bytes.Equal(out, c.serve) {
		err = fmt.Errorf("%d bytes, which are not those of the image", len(out))
	}
	return err
}

// curl follows a redirect, and tries again as people tell it to.
func (c *clients) curl(ctx context.Context, server netip.Addr) ([]string, error) {
	return nil, c.fetched(c.run(ctx, "curl", "-fsSL", "--max-time", "5", "--retry", "1", "--retry-delay", "0",
		"--retry-all-errors", "--cacert", c.caFile,
		c.url(server.String(), boxImage)))
}

// wget goes to the pool's name, which it resolves by itself; on loopback it gets the address.
func (c *clients) wget(ctx context.Context) ([]string, error) {
	host := "dl.example.org"
	if c.local {
		addrs, err := c.ask(ctx, c.hosts["resolver"].v4, dns.TypeA)
		if err != nil {
			return nil, err
		}
		host = addrs[0]
	}
	return nil, c.fetched(c.run(ctx, "wget", "-q", "-O", "-", "--timeout=3", "--tries=2", "--ca-certificate="+c.caFile,
		c.url(host, "tails/"+boxImage)))
}

// dig asks both mirrorpools.
func (c *clients) dig(ctx context.Context) ([]string, error) {
	ns := []string{"ns1", "ns2"}[rand.IntN(2)]
	out, err := c.run(ctx, "dig", "@"+c.hosts[ns].v4.String(), "-p", c.ports.dns, "+time=1", "+tries=2", "+short",
		"dl.example.org", "A")
	addrs := strings.Fields(string(out))
	if err == nil && len(addrs) == 0 {
		err = fmt.Errorf("%s by dig", errEmpty)
	}
	return addrs, err
}

// never fails the test if anything was seen that must not be, whatever is broken: rules 1, 2 and 6.
func (c *clients) never(t testing.TB, from, to time.Time) {
	t.Helper()
	off := c.hosts[boxOff]
	broken := map[string]int{}
	for _, e := range c.between(from, to) {
		if e.client != "upgrader" && (slices.Contains(e.to, off.v4.String()) || slices.Contains(e.to, off.prefix())) {
			broken["rule 1: the disabled mirror was given to "+e.client]++
		}
		resolver := strings.HasPrefix(e.client, "dns resolver") // without servers to ask, it answers for itself
		if strings.HasPrefix(e.failed, errEmpty) && !resolver && !e.download() {
			broken["rule 2: "+e.failed+" was given to "+e.client]++
		}
		if strings.HasPrefix(e.failed, errWrongType) {
			broken["rule 6: "+e.failed+" was given to "+e.client]++
		}
	}
	for what, times := range broken {
		t.Errorf("%s, %d times", what, times)
	}
}
