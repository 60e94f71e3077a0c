package systest

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/testdata/testbed"
)

// TestKilledBeforeRemoval kills the program while its TXT record is at BIND, and the authority is about to ask for it.
// The next start removes the record, and gets a certificate.
func TestKilledBeforeRemoval(t *testing.T) {
	t.Parallel()
	const name, owner = "download.example.org", "_acme-challenge.download.example.org."
	at := "127.0.0.1:" + testbed.FreePort(t)
	s := newSite(t, "")
	s.primary(t, "bind", at)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // where the first authority looks for the record
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	r := newACMERig(t)
	start := func(server string) {
		o := r.options
		o.Resolver = testbed.StartNames(t, nil, map[string]string{"example.org": server})
		r.pebble, _ = testbed.StartPebble(t, o)
		r.config.json["publish"] = []any{map[string]any{"server": at, "zone": "example.org", "names": []string{"dl"}, "tsig": s.key}}
		r.acme([]string{name}, map[string]any{"challenge": "dns-01"})
		r.serve(t)
	}
	start(silent.Addr().String())
	if err := silent.(*net.TCPListener).SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	conn, err := silent.Accept()
	if err != nil {
		t.Fatalf("the authority does not look for the record: %v", err)
	}
	defer conn.Close()
	if err := r.program.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-r.program.exited
	left, err := txtAt(at, owner)
	if err != nil || len(left) != 1 {
		t.Fatalf("records after the crash: %v, %v, want the one of the order", left, err)
	}
	start(at)
	testbed.EventuallyNil(t, func() error {
		now, err := txtAt(at, owner)
		if err == nil && slices.Contains(now, left[0]) {
			return fmt.Errorf("the record is still there: %v", now)
		}
		return err
	})
	r.await(t, name)
	testbed.Eventually(t, "no record is left", func() bool {
		now, err := txtAt(at, owner)
		return err == nil && len(now) == 0
	})
	if !strings.Contains(r.program.log.String(), "removed a TXT record that an earlier order had left") {
		t.Error("the log does not say that a record was removed")
	}
	r.program.stop(t)
}

// txtAt returns the TXT records that a server has at a name.
func txtAt(server, name string) (values []string, err error) {
	resp, _, err := (&dns.Client{Net: "tcp"}).Exchange(new(dns.Msg).SetQuestion(name, dns.TypeTXT), server)
	if err != nil {
		return nil, err
	}
	for _, rr := range resp.Answer {
		values = append(values, strings.Join(rr.(*dns.TXT).Txt, ""))
	}
	return values, nil
}
