package authority

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/testdata/testbed"
)

// TestRolloversByOthers has validators of others look at the zone whenever a rollover waits for something new, with the
// DS records that the parent has then. They go by the real time: for each of these moments there is a world that began
// so long ago that the moment is now.
func TestRolloversByOthers(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it is long with the race detector, which learns nothing from it")
	}
	var moments []time.Duration // since the start
	first := newSignedWorld(t)
	first.look = func() bool {
		moments = append(moments, first.now.Sub(first.start))
		return true
	}
	rollOver(t, first)
	if len(moments) < 10 {
		t.Fatalf("only %d moments: %v", len(moments), moments)
	}
	for _, moment := range moments {
		w := newSignedWorldAt(t, time.Now().Add(-moment))
		w.look = func() bool {
			if w.now.Sub(w.start) < moment {
				return true
			}
			t.Run(fmt.Sprintf("%v, %s", moment, w.status().Next), w.lookByOthers)
			return false
		}
		rollOver(t, w)
	}
}

func (w *signedWorld) lookByOthers(t *testing.T) {
	server := w.serve(t)
	t.Run("delv", func(t *testing.T) {
		t.Parallel()
		w.lookByDelv(t, server)
	})
	for name, start := range validatingResolvers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			resolver := start(t, server, w.ds)
			for _, q := range worldQuestions {
				checkAuthentic(t, resolver, q.name, q.qtype, q.rcode)
			}
		})
	}
}

// serve serves the zone as it is until the test ends, and returns the address.
func (w *signedWorld) serve(t *testing.T) string {
	t.Helper()
	addr, zone := "127.0.0.1:"+testbed.FreePort(t), w.zone
	for _, network := range []string{"udp", "tcp"} {
		from := w.client(network == "tcp")
		started, done := make(chan struct{}), make(chan error, 1)
		s := &dns.Server{Addr: addr, Net: network, NotifyStartedFunc: func() { close(started) },
			Handler: dns.HandlerFunc(func(rw dns.ResponseWriter, req *dns.Msg) {
				if packed, err := zone.respond(req, from); err == nil {
					rw.Write(packed)
				}
			})}
		go func() { done <- s.ListenAndServe() }()
		select {
		case <-started:
		case err := <-done:
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Shutdown(); <-done })
	}
	return addr
}

// worldQuestions are one for each kind of answer of a world.
var worldQuestions = []struct {
	name  string
	qtype uint16
	rcode int
}{
	{"dl.example.org.", dns.TypeA, 0}, {"dl.example.org.", dns.TypeSOA, 0}, {"dl.example.org.", dns.TypeNS, 0},
	{"dl.example.org.", dns.TypeDNSKEY, 0}, {"dl.example.org.", dns.TypeCDS, 0}, {"dl.example.org.", dns.TypeCDNSKEY, 0},
	{"dl.example.org.", dns.TypeTXT, 0}, {"m1.dl.example.org.", dns.TypeA, 0}, {"m1.dl.example.org.", dns.TypeMX, 0},
	{"nothing.dl.example.org.", dns.TypeA, dns.RcodeNameError},
}

func (w *signedWorld) lookByDelv(t *testing.T, server string) {
	t.Helper()
	anchor := filepath.Join(t.TempDir(), "anchor")
	testbed.Put(t, anchor, bindAnchors(w.ds))
	host, port, _ := strings.Cut(server, ":")
	for _, q := range worldQuestions {
		out, _ := exec.Command(testbed.Need(t, "delv", "bind9-dnsutils"), "-a", anchor, "+root=dl.example.org", "@"+host, "-p", port,
			q.name, dns.TypeToString[q.qtype]).CombinedOutput() // which calls a denial a failure
		if !strings.Contains(string(out), "fully validated") {
			t.Errorf("%s %s: %s", q.name, dns.Type(q.qtype), out)
		}
	}
}

// bindAnchors are DS records that are trusted, as BIND's configuration has them.
func bindAnchors(trusted []*dns.DS) string {
	text := "trust-anchors {\n"
	for _, ds := range trusted {
		text += fmt.Sprintf("%q static-ds %d %d %d %q;\n", ds.Hdr.Name, ds.KeyTag, ds.Algorithm, ds.DigestType, ds.Digest)
	}
	return text + "};\n"
}
