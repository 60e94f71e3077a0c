package probe

import (
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"mirrorpool/health"
	"mirrorpool/testdata/testbed"
)

// TestProxy checks a mirror through a real SOCKS5 proxy, which wants a user name, as Tor's takes one.
func TestProxy(t *testing.T) {
	t.Parallel()
	microsocks := testbed.Need(t, "microsocks", "microsocks")
	proxy := "127.0.0.9:" + testbed.FreePort(t, "127.0.0.9")
	host, port, _ := net.SplitHostPort(proxy)
	// Its connections come from an address of their own, which the mirror sees.
	stop := testbed.Start(t, exec.Command(microsocks, "-i", host, "-p", port, "-u", mirrorHost, "-P", "mirrorpool", "-b", "127.0.0.77"))
	t.Cleanup(stop)
	testbed.Eventually(t, "the proxy takes connections", func() bool {
		conn, err := net.Dial("tcp", proxy)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	tgt, from := startCaller(t)
	tgt.Route.Proxy = proxy
	prober := New(nil, time.Now)
	if o := prober.Probe(within(t, 5*time.Second), tgt); o.Result != health.Up || !o.Trace.Equal(traceTime) {
		t.Errorf("through the proxy: %v, %q", o.Result, o.Reason)
	}
	if got := <-from; !strings.HasPrefix(got, "127.0.0.77:") {
		t.Errorf("the mirror was asked from %s, not by the proxy", got)
	}
	closed := tgt
	closed.URL = target(t, health.HTTP, "http", mirrorHost, testbed.FreePort(t, "127.0.0.1"), "127.0.0.1").URL
	if o := prober.Probe(within(t, 5*time.Second), closed); o.Result != health.Down || o.Cause != health.CauseConnect ||
		!strings.HasPrefix(o.Reason, "connect: connection refused, as the proxy says") {
		t.Errorf("a mirror that refuses: %v, %v, %q", o.Result, o.Cause, o.Reason)
	}
	stranger := tgt
	stranger.OwnHost = "other.example.net" // a user whom the proxy refuses
	gone := tgt
	gone.Route.Proxy = "127.0.0.9:" + testbed.FreePort(t, "127.0.0.9")
	for what, target := range map[string]health.Target{"a proxy that refuses us": stranger, "a proxy that is not there": gone} {
		o := prober.Probe(within(t, 5*time.Second), target)
		if o.Result != health.Unknown || o.Cause != health.CauseLocal || !strings.Contains(o.Reason, "health.proxy") {
			t.Errorf("%s: %v, %v, %q", what, o.Result, o.Cause, o.Reason)
		}
	}
}

// startCaller starts a mirror that tells from where it is asked.
func startCaller(t *testing.T) (tgt health.Target, from chan string) {
	t.Helper()
	l := listen(t, "127.0.0.1")
	from = make(chan string, 10)
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from <- r.RemoteAddr
		w.Write([]byte(trace))
	})}}
	server.Start()
	t.Cleanup(server.Close)
	return target(t, health.HTTP, "http", mirrorHost, portOf(l), "127.0.0.1"), from
}

// TestSource checks a mirror from addresses of this host, and from an interface.
func TestSource(t *testing.T) {
	t.Parallel()
	tgt, from := startCaller(t)
	for _, test := range []struct {
		source []string
		from   string // "": it cannot be checked
		reason string
	}{
		{[]string{"127.0.0.78"}, "127.0.0.78:", ""},
		{[]string{"2001:db8::1", "127.0.0.79"}, "127.0.0.79:", ""},
		{[]string{"lo"}, "127.0.0.1:", ""},
		{[]string{"2001:db8::1"}, "", "connect: health.source: no address of this family"},
		{[]string{"none7"}, "", "connect: health.source: no interface none7"},
		{[]string{"192.0.2.1"}, "", "connect: this host has no local port or address left"},
	} {
		tgt.Route.Source = test.source
		o := New(nil, time.Now).Probe(within(t, 5*time.Second), tgt)
		switch {
		case test.from == "" && (o.Result != health.Unknown || o.Cause != health.CauseLocal || o.Reason != test.reason):
			t.Errorf("%v: %v, %v, %q", test.source, o.Result, o.Cause, o.Reason)
		case test.from != "" && o.Result != health.Up:
			t.Errorf("%v: %v, %q", test.source, o.Result, o.Reason)
		case test.from != "":
			if got := <-from; !strings.HasPrefix(got, test.from) {
				t.Errorf("%v: asked from %s", test.source, got)
			}
		}
	}
}

// TestInterfaceAddresses leaves out addresses that are good on one link only.
func TestInterfaceAddresses(t *testing.T) {
	t.Parallel()
	list, err := interfaceAddresses("lo")
	if err != nil || len(list) == 0 || list[0] != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("addresses of lo: %v, %v", list, err)
	}
}

// TestIsEvidence: what a mirror has sent proves something, and what did not arrive does not.
func TestIsEvidence(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  error
		want bool
	}{
		{&stepError{health.StepTLS, x509.UnknownAuthorityError{}}, true},
		{&stepError{health.StepTLS, x509.HostnameError{Certificate: new(x509.Certificate), Host: "m"}}, true},
		{&stepError{health.StepTLS, x509.CertificateInvalidError{Cert: new(x509.Certificate), Reason: x509.Expired}}, true},
		{&stepError{health.StepTLS, errors.New("handshake failure")}, false},
		{&stepError{health.StepBody, errors.New("more than 64 bytes")}, true},
		{&stepError{health.StepBody, &brokenOff{io.ErrUnexpectedEOF}}, false},
		{&stepError{health.StepFreshness, futureError(time.Hour)}, true},
		{&stepError{health.StepStatus, errors.New("403 Forbidden")}, false},
		{&stepError{health.StepConnect, syscall.ECONNREFUSED}, false},
		{errors.New("something else"), false},
	} {
		if got := isEvidence(test.err); got != test.want {
			t.Errorf("%v: %v, want %v", test.err, got, test.want)
		}
	}
}
