package testbed

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// waitTime is how long a test waits for what is to come to pass. It matters to tests that fail only.
const waitTime = 20 * time.Second

// Eventually waits until ok returns true.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	EventuallyNil(t, func() error {
		if !ok() {
			return fmt.Errorf("it does not come to pass that %s", what)
		}
		return nil
	})
}

// EventuallyNil waits until check returns nil.
func EventuallyNil(t testing.TB, check func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitTime)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for err := check(); err != nil; err = check() {
		select {
		case <-ctx.Done():
			t.Fatal(err)
		case <-tick.C:
		}
	}
}

// AwaitPort waits until a server accepts connections at addr.
func AwaitPort(t testing.TB, addr string) {
	t.Helper()
	Eventually(t, "a server listens at "+addr, func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// AwaitZone waits until a server at addr knows the SOA record of a zone.
func AwaitZone(t testing.TB, addr, zone string) {
	t.Helper()
	client := dns.Client{Net: "tcp", Timeout: time.Second}
	Eventually(t, "the server at "+addr+" answers for "+zone, func() bool {
		resp, _, err := client.Exchange(new(dns.Msg).SetQuestion(zone, dns.TypeSOA), addr)
		return err == nil && len(resp.Answer) == 1
	})
}
