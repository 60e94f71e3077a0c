package daemon

import (
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/testdata/testbed"
)

const testDS = "dl.example.org. 3600 DS 1 13 2 0000000000000000000000000000000000000000000000000000000000000000"

// reply makes an answer with records as text: SOA records are of the authority section.
func reply(t *testing.T, req *dns.Msg, rcode int, records ...string) *dns.Msg {
	t.Helper()
	resp := new(dns.Msg).SetRcode(req, rcode)
	resp.RecursionAvailable = true
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Error(err)
		}
		if rr.Header().Rrtype == dns.TypeSOA {
			resp.Ns = append(resp.Ns, rr)
		} else {
			resp.Answer = append(resp.Answer, rr)
		}
	}
	return resp
}

// startTCPResolver runs a resolver that has each query be asked again by TCP, and returns its address.
func startTCPResolver(t *testing.T, answer dns.HandlerFunc) string {
	t.Helper()
	addr := startResolver(t, func(w dns.ResponseWriter, req *dns.Msg) {
		resp := reply(t, req, dns.RcodeSuccess)
		resp.Truncated = true
		w.WriteMsg(resp)
	})
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	runResolver(t, &dns.Server{Listener: listener, Handler: answer})
	return addr
}

// TestAnswersOfAResolver takes for the parent's word only what a resolver has from it, by UDP or TCP.
func TestAnswersOfAResolver(t *testing.T) {
	t.Parallel()
	const parentSOA, ownSOA = "org. 60 SOA a. b. 1 1 1 1 60", "Dl.example.org. 60 SOA a. b. 1 1 1 1 60"
	for name, test := range map[string]struct {
		answer func(req *dns.Msg) *dns.Msg
		ds     int
		want   string // in the error; "" for none
	}{
		"DS":                    {func(req *dns.Msg) *dns.Msg { return reply(t, req, dns.RcodeSuccess, testDS) }, 1, ""},
		"no DS":                 {func(req *dns.Msg) *dns.Msg { return reply(t, req, dns.RcodeSuccess, parentSOA) }, 0, ""},
		"no name":               {func(req *dns.Msg) *dns.Msg { return reply(t, req, dns.RcodeNameError, parentSOA) }, 0, ""},
		"DS of another name":    {func(req *dns.Msg) *dns.Msg { return reply(t, req, dns.RcodeSuccess, "a."+testDS) }, 0, ""},
		"SERVFAIL":              {func(req *dns.Msg) *dns.Msg { return reply(t, req, dns.RcodeServerFailure) }, 0, "answers SERVFAIL"},
		"REFUSED":               {func(req *dns.Msg) *dns.Msg { return reply(t, req, dns.RcodeRefused) }, 0, "answers REFUSED"},
		"by the zone's server":  {func(req *dns.Msg) *dns.Msg { return reply(t, req, dns.RcodeSuccess, ownSOA) }, 0, "from the zone itself"},
		"by a server below":     {func(req *dns.Msg) *dns.Msg { return reply(t, req, dns.RcodeSuccess, "a."+ownSOA) }, 0, "from the zone itself"},
		"by one with no resolv": {func(req *dns.Msg) *dns.Msg { r := reply(t, req, 0, testDS); r.RecursionAvailable = false; return r }, 0, "is no resolver"},
	} {
		handler := func(w dns.ResponseWriter, req *dns.Msg) { w.WriteMsg(test.answer(req)) }
		for network, addr := range map[string]string{"UDP": startResolver(t, handler), "TCP": startTCPResolver(t, handler)} {
			view, err := lookUpDS(t.Context(), addr, "dl.example.org.", time.Now())
			switch {
			case (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want):
				t.Errorf("%s by %s: %v, want %q", name, network, err, test.want)
			case err == nil && len(view.DS) != test.ds:
				t.Errorf("%s by %s: %v", name, network, view.DS)
			}
		}
	}
}

// TestNextResolver asks the next resolver of the host where one does not answer, or has no answer.
func TestNextResolver(t *testing.T) {
	t.Parallel()
	good := startResolver(t, answerDS(3600))
	fails := startResolver(t, func(w dns.ResponseWriter, req *dns.Msg) { w.WriteMsg(reply(t, req, dns.RcodeServerFailure)) })
	const dead = "127.0.0.1:1"
	for _, resolvers := range [][]string{{good}, {dead, good}, {fails, good}, {fails, dead, good}} {
		if view, err := lookUpDSAt(t.Context(), resolvers, "dl.example.org.", time.Now()); err != nil || len(view.DS) != 1 {
			t.Errorf("%v: %v", resolvers, err)
		}
	}
	_, err := lookUpDSAt(t.Context(), []string{fails, dead}, "dl.example.org.", time.Now())
	if err == nil || !strings.Contains(err.Error(), "SERVFAIL") || !strings.Contains(err.Error(), dead) {
		t.Errorf("without one that answers: %v", err)
	}
	file := filepath.Join(t.TempDir(), "resolv.conf")
	testbed.Put(t, file, "nameserver 192.0.2.1\nnameserver 2001:db8::1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n")
	if got, err := hostResolvers(file); err != nil || !slices.Equal(got, []string{"192.0.2.1:53", "[2001:db8::1]:53", "192.0.2.2:53"}) {
		t.Errorf("the resolvers are %v: %v", got, err)
	}
	testbed.Put(t, file, "")
	if _, err := hostResolvers(file); err == nil || !strings.Contains(err.Error(), "it names none") {
		t.Errorf("without one: %v", err)
	}
}

// TestLostQuery asks a resolver again that does not answer the first time: at a start, there is no later look before a
// first key is made.
func TestLostQuery(t *testing.T) {
	t.Parallel()
	var queries atomic.Int32
	resolver := startResolver(t, func(w dns.ResponseWriter, req *dns.Msg) {
		if queries.Add(1) > 1 {
			w.WriteMsg(reply(t, req, dns.RcodeSuccess, testDS))
		}
	})
	if view, err := lookUpDS(t.Context(), resolver, "dl.example.org.", time.Now()); err != nil || len(view.DS) != 1 {
		t.Errorf("after %d queries: %v", queries.Load(), err)
	}
}
