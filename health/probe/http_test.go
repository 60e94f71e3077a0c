package probe

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"mirrorpool/health"
	"mirrorpool/testdata/testbed"
)

func serveTrace(w http.ResponseWriter, r *http.Request) {
	http.ServeContent(w, r, "trace", time.Time{}, strings.NewReader(trace))
}

// text serves a body with status 200, whatever is asked.
func text(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) }
}

// redirect serves the trace file to the host at, and sends everyone else to location.
func redirect(location string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/elsewhere" {
			serveTrace(w, r)
			return
		}
		w.Header().Set("Location", strings.ReplaceAll(location, "PORT", r.Host[strings.LastIndex(r.Host, ":")+1:]))
		w.WriteHeader(http.StatusFound)
	}
}

func TestProbeAsksTheAddressForTheHost(t *testing.T) {
	ca := testbed.NewAuthority(t)
	seen := &tracer{}
	s := serve(t, "127.0.0.7", seen, ca.Issue(t, mirrorHost, time.Now().Add(20*time.Hour)))
	p := New(ca.Roots(), time.Now)
	o := p.Probe(within(t, 5*time.Second), target(t, health.HTTP, "https", mirrorHost, portOf(s.Listener), "127.0.0.7"))
	if o.Result != health.Up || o.Reason != "" || !o.Trace.Equal(traceTime) {
		t.Fatalf("saw %+v, want up with trace %v", o, traceTime)
	}
	if want := []string{net.JoinHostPort(mirrorHost, portOf(s.Listener))}; !slices.Equal(seen.hosts, want) {
		t.Errorf("asked for hosts %q, want %q", seen.hosts, want)
	}
	if want := []string{mirrorHost}; !slices.Equal(seen.names, want) {
		t.Errorf("asked for names %q, want %q", seen.names, want)
	}
	if days := time.Until(o.CertExpires); days < 19*time.Hour || days > 21*time.Hour {
		t.Errorf("certificate expires at %v", o.CertExpires)
	}
	if ts := o.Timings; ts.Connect <= 0 || ts.TLS <= 0 || ts.FirstByte <= 0 || ts.Total < ts.Connect+ts.TLS+ts.FirstByte ||
		ts.Total != o.Took {
		t.Errorf("timings %+v of %v", ts, o.Took)
	}
	// No server is at the same port of another address, whatever the name.
	o = p.Probe(within(t, 5*time.Second), target(t, health.HTTP, "https", mirrorHost, portOf(s.Listener), "127.0.0.8"))
	if o.Result != health.Down || o.Reason != "connect: connection refused" {
		t.Errorf("at the other address: %v, %q", o.Result, o.Reason)
	}
}

func TestProbeRoleDNSNeedsRanges(t *testing.T) {
	for _, test := range []struct {
		name    string
		handler http.Handler
		want    string
	}{
		{"works", http.HandlerFunc(serveTrace), ""},
		{"no ranges", text(trace), "status: 200 OK to a range request, want 206: the server cannot resume downloads"},
		{"wrong bytes", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") != "" {
				w.Header().Set("Content-Range", "bytes 1-10/11")
				w.WriteHeader(http.StatusPartialContent)
			}
			fmt.Fprint(w, trace)
		}), "body: the answer to a range request holds other bytes than the file"},
		{"no Content-Range", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") != "" {
				w.WriteHeader(http.StatusPartialContent)
				fmt.Fprint(w, trace[1:])
				return
			}
			fmt.Fprint(w, trace)
		}), `status: 206 without Content-Range, want "bytes 1-10/11": clients cannot resume downloads`},
		{"a limit of requests", limited(http.StatusTooManyRequests),
			"status: 429 Too Many Requests, want 206: the server limits how often one client may ask; exempt this host from that"},
		{"a limit of requests, as nginx says it", limited(http.StatusServiceUnavailable),
			"status: 503 Service Unavailable right after a 200, want 206: the server seems to limit how often one client may ask; " +
				"exempt this host from that"},
		{"ranges break it", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") != "" {
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			}
			fmt.Fprint(w, trace)
		}), "status: 416 Requested Range Not Satisfiable, want 206"},
		{"wrong virtual host", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasPrefix(r.Host, mirrorHost+":") {
				http.NotFound(w, r)
				return
			}
			fmt.Fprint(w, trace)
		}), "status: 404 Not Found, want 200"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := serve(t, "127.0.0.7", test.handler)
			p := New(nil, time.Now)
			o := p.Probe(within(t, 5*time.Second), target(t, health.DNS, "http", poolHost, portOf(s.Listener), "127.0.0.7"))
			if o.Reason != test.want || (o.Result == health.Up) != (test.want == "") {
				t.Errorf("saw %v, %q, want %q", o.Result, o.Reason, test.want)
			}
			o = p.Probe(within(t, 5*time.Second), target(t, health.HTTP, "http", mirrorHost, portOf(s.Listener), "127.0.0.7"))
			if o.Result != health.Up && !strings.Contains(test.want, "limit") {
				t.Errorf("in role http: %v, %q, want up", o.Result, o.Reason)
			}
		})
	}
}

// limited serves the trace once, and the status for too many requests from then on.
func limited(status int) http.HandlerFunc {
	var served atomic.Bool
	return func(w http.ResponseWriter, r *http.Request) {
		if served.Swap(true) {
			w.WriteHeader(status)
			return
		}
		serveTrace(w, r)
	}
}

func TestProbeReasons(t *testing.T) {
	epoch := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	now := func() time.Time { return epoch }
	ahead := func(d time.Duration) http.HandlerFunc {
		return text(strconv.FormatInt(epoch.Add(d).Unix(), 10))
	}
	for _, test := range []struct {
		name    string
		handler http.Handler
		want    string
	}{
		{"not found", http.NotFoundHandler(), "status: 404 Not Found, want 200"},
		{"error", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }),
			"status: 500 Internal Server Error, want 200"},
		{"an unknown status", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(799) }),
			"status: 799, want 200"},
		{"redirect without a location", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(302) }),
			"status: 302 Found, want 200"},
		{"parked", text("<html><title>Buy this domain</title></html>"),
			`body: "<html><title>Buy this domain</title></ht...", want an epoch second`},
		{"large parked page", text(strings.Repeat("<p>for sale</p>", 1000)), "body: more than 64 bytes, want an epoch second"},
		{"empty", text(""), `body: "", want an epoch second`},
		{"a date", text("Sun Mar  1 12:00:00 UTC 2026"), `body: "Sun Mar  1 12:00:00 UTC 2026", want an epoch second`},
		{"negative", text("-5"), `body: "-5", want an epoch second`},
		{"a terminal's commands", text("\x1b[2J"), `body: "\x1b[2J", want an epoch second`},
		{"a little ahead", ahead(4 * time.Minute), ""},
		{"far ahead", ahead(time.Hour), "freshness: the trace file is 1h0m0s ahead of our clock"},
		{"far too far ahead", text("99999999999999999"), `body: "99999999999999999", want an epoch second`},
		{"gzip that was not asked for", gzipped(t), `body: the server encodes the file ("gzip"), which was not asked for`},
		{"half a body", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "11")
			fmt.Fprint(w, trace[:5])
		}), "body: the server closed the connection"},

		{"redirect on the same host", redirect("/elsewhere"), ""},
		{"redirect to the mirror's own host", redirect("http://" + mirrorHost + ":PORT/elsewhere"), ""},
		{"redirect to another host", redirect("http://other.example.com/elsewhere"),
			"request: redirected to http://other.example.com/elsewhere: neither the same host nor the mirror's own"},
		{"redirect to the host with a dot", redirect("http://" + mirrorHost + ".:PORT/elsewhere"),
			"request: redirected to http://mirror.example.net.:PORT/elsewhere: its host ends in a dot, which is in no certificate"},
		{"redirect inside", redirect("http://127.0.0.1/elsewhere"),
			"request: redirected to http://127.0.0.1/elsewhere: neither the same host nor the mirror's own"},
		{"redirect with a password", redirect("http://me:secret@other.example.com/"),
			"request: redirected to http://me:xxxxx@other.example.com/: neither the same host nor the mirror's own"},
		{"redirect to itself", redirect("/project/trace"),
			"request: redirected to http://dl.example.org:PORT/project/trace: more than 5 redirects"},
		{"redirect to a script", redirect("javascript:alert(1)"), "request: redirected to javascript:alert(1): neither http nor https"},
		{"redirect to a file", redirect("file:///etc/passwd"), "request: redirected to file:///etc/passwd: neither http nor https"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := serve(t, "127.0.0.7", test.handler)
			o := New(nil, now).Probe(within(t, 5*time.Second), target(t, health.HTTP, "http", poolHost, portOf(s.Listener), "127.0.0.7"))
			want := strings.ReplaceAll(test.want, "PORT", portOf(s.Listener))
			if o.Reason != want || (o.Result == health.Up) != (want == "") {
				t.Errorf("saw %v, %q, want %q", o.Result, o.Reason, want)
			}
		})
	}
}

// gzipped serves what would expand to 10 MB.
func gzipped(t testing.TB) http.HandlerFunc {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := w.Write(make([]byte, 10<<20)); err != nil {
		t.Fatal(err)
	}
	w.Close()
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "" {
			t.Errorf("asked for encoding %q", r.Header.Get("Accept-Encoding"))
		}
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(buf.Bytes())
	}
}

func TestProbeCertificates(t *testing.T) {
	ca, foreign := testbed.NewAuthority(t), testbed.NewAuthority(t)
	tomorrow, lastWeek := time.Now().Add(24*time.Hour-time.Minute), time.Now().Add(-7*24*time.Hour)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		cert tls.Certificate
		want string
	}{
		{"good", ca.Issue(t, mirrorHost, tomorrow), ""},
		{"expired", ca.Issue(t, mirrorHost, lastWeek), fmt.Sprintf("tls: certificate is not valid now, but from %s to %s",
			lastWeek.Add(-24*time.Hour).UTC().Format(time.DateOnly), lastWeek.UTC().Format(time.DateOnly))},
		{"not yet valid", ca.Sign(t, key, mirrorHost, tomorrow.Add(48*time.Hour), tomorrow.Add(72*time.Hour)),
			fmt.Sprintf("tls: certificate is not valid now, but from %s to %s",
				tomorrow.Add(48*time.Hour).UTC().Format(time.DateOnly), tomorrow.Add(72*time.Hour).UTC().Format(time.DateOnly))},
		{"another's", ca.Issue(t, "other.example.com", tomorrow), `tls: certificate is not for "mirror.example.net"`},
		{"foreign", foreign.Issue(t, mirrorHost, tomorrow),
			`tls: certificate is signed by an unknown authority: the server sends it without the intermediate certificate of ` +
				`"mirrorpool test authority"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := serve(t, "127.0.0.7", http.HandlerFunc(serveTrace), test.cert)
			o := New(ca.Roots(), time.Now).Probe(within(t, 5*time.Second),
				target(t, health.HTTP, "https", mirrorHost, portOf(s.Listener), "127.0.0.7"))
			if o.Reason != test.want || (o.Result == health.Up) != (test.want == "") {
				t.Errorf("saw %v, %q, want %q", o.Result, o.Reason, test.want)
			}
			if test.name == "expired" && !o.CertExpires.Equal(lastWeek.UTC().Truncate(time.Second)) {
				t.Errorf("expired at %v, want %v", o.CertExpires, lastWeek)
			}
		})
	}
}

func TestProbeRedirectSchemes(t *testing.T) {
	ca := testbed.NewAuthority(t)
	plain := serve(t, "127.0.0.7", http.HandlerFunc(serveTrace))
	cert := ca.Issue(t, mirrorHost, time.Now().Add(20*time.Hour))
	safe := serve(t, "127.0.0.7", redirect("http://"+mirrorHost+":"+portOf(plain.Listener)+"/"), cert)
	up := serve(t, "127.0.0.7", redirect("https://"+mirrorHost+":"+portOf(safe.Listener)+"/elsewhere"))
	p := New(ca.Roots(), time.Now)
	o := p.Probe(within(t, 5*time.Second), target(t, health.HTTP, "http", mirrorHost, portOf(up.Listener), "127.0.0.7"))
	if o.Result != health.Up || o.CertExpires.IsZero() {
		t.Errorf("http to https: %v, %q, certificate until %v, want up", o.Result, o.Reason, o.CertExpires)
	}
	o = p.Probe(within(t, 5*time.Second), target(t, health.HTTP, "https", mirrorHost, portOf(safe.Listener), "127.0.0.7"))
	want := "request: redirected to http://mirror.example.net:" + portOf(plain.Listener) + "/: from https to http"
	if o.Result != health.Down || o.Reason != want {
		t.Errorf("https to http: %v, %q, want %q", o.Result, o.Reason, want)
	}
}

// TestProbeRedirectsStayAtTheAddress sends probes on to a host whose name leads elsewhere, were it resolved.
func TestProbeRedirectsStayAtTheAddress(t *testing.T) {
	inside := &tracer{}
	s := serve(t, "127.0.0.1", inside)
	port := portOf(s.Listener)
	l, err := net.Listen("tcp", "127.0.0.7:"+port)
	if err != nil {
		t.Skipf("port %s is taken at the other address: %v", port, err)
	}
	mirror := http.Server{Handler: redirect("http://localhost:PORT/elsewhere")}
	done := make(chan struct{})
	go func() { defer close(done); mirror.Serve(l) }()
	t.Cleanup(func() { mirror.Close(); <-done })
	tgt := target(t, health.HTTP, "http", "localhost", port, "127.0.0.7")
	if o := New(nil, time.Now).Probe(within(t, 5*time.Second), tgt); o.Result != health.Up || len(inside.hosts) > 0 {
		t.Errorf("saw %v, %q, and asked at 127.0.0.1 for %q, want up from 127.0.0.7 alone", o.Result, o.Reason, inside.hosts)
	}
}

func TestJudge(t *testing.T) {
	dial := func(err error) error { return &stepError{health.StepConnect, &net.OpError{Op: "dial", Err: err}} }
	for _, test := range []struct {
		err   error
		state health.State
		cause health.Cause
		want  string
	}{
		{dial(syscall.ECONNREFUSED), health.Down, health.CauseConnect, "connect: connection refused"},
		{dial(context.DeadlineExceeded), health.Down, health.CauseConnect, "connect: timed out"},
		{dial(syscall.EHOSTUNREACH), health.Down, health.CauseConnect, "connect: host unreachable"},
		{dial(syscall.ENETUNREACH), health.Down, health.CauseConnect, "connect: network unreachable"},
		{&stepError{health.StepConnect, errNoRoute}, health.Unknown, health.CauseLocal,
			"connect: this host has no route to the address"},
		{dial(syscall.EMFILE), health.Unknown, health.CauseLocal, "connect: this host has too many open files"},
		{dial(syscall.ENOBUFS), health.Unknown, health.CauseLocal, "connect: this host has no buffer space left"},
		{dial(syscall.ENOMEM), health.Unknown, health.CauseLocal, "connect: this host has no memory left"},
		{dial(syscall.EPERM), health.Unknown, health.CauseLocal, "connect: this host's firewall forbids the connection"},
		{dial(syscall.EADDRNOTAVAIL), health.Unknown, health.CauseLocal, "connect: this host has no local port or address left"},
		{&stepError{health.StepTLS, x509.UnknownAuthorityError{}}, health.Down, health.CauseTrust,
			"tls: certificate is signed by an unknown authority"},
		{&stepError{health.StepTLS, x509.CertificateInvalidError{Cert: new(x509.Certificate), Reason: x509.Expired}}, health.Down,
			health.CauseClock, "tls: certificate is not valid now, but from 0001-01-01 to 0001-01-01"},
		{&stepError{health.StepFreshness, futureError(time.Hour)}, health.Down, health.CauseFuture,
			"freshness: the trace file is 1h0m0s ahead of our clock"},
		{&stepError{health.StepRequest, &spokeFirst{errors.New("odd")}}, health.Down, health.CauseOwn,
			"request: the server hung up or spoke before it was asked"},
		{&stepError{health.StepRequest, &spokeFirst{io.EOF}}, health.Down, health.CauseOwn,
			"request: the server closed the connection"},
		{dial(errors.New("something new")), health.Down, health.CauseConnect, "connect: something new"},
		{errors.New(strings.Repeat("x", 300)), health.Down, health.CauseOwn, "request: " + strings.Repeat("x", 200) + "..."},
	} {
		if state, cause, reason := judge(test.err); state != test.state || cause != test.cause || reason != test.want {
			t.Errorf("%v: %v, %v, %q, want %v, %v, %q", test.err, state, cause, reason, test.state, test.cause, test.want)
		}
	}
}

func TestRouted(t *testing.T) {
	if !routed(netip.MustParseAddr("127.0.0.9")) {
		t.Error("no route to the loopback network")
	}
	// 240.0.0.0/4 is reserved: the kernel knows no way there, unless one was configured.
	nowhere := netip.MustParseAddr("255.255.255.255")
	if routed(nowhere) {
		t.Skip("this host has a route everywhere")
	}
	_, err := dialAddress(within(t, time.Second), nowhere, "80")
	if state, _, _ := judge(&stepError{health.StepConnect, err}); state != health.Unknown {
		t.Errorf("dialling where there is no route: %v, want unknown", err)
	}
}

func FuzzParseTrace(f *testing.F) {
	for _, seed := range []string{trace, "", "0", " 12 ", "1e9", "+1", "９"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		when, err := parseTrace(body)
		if err != nil {
			return
		}
		again, err := parseTrace([]byte(strconv.FormatInt(when.Unix(), 10)))
		if err != nil || !again.Equal(when) || when.Unix() <= 0 {
			t.Errorf("%q is %v, which reads back as %v, %v", body, when, again, err)
		}
	})
}
