//go:build linux

package systest

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestNoClientAddresses has a client be served, refused, misunderstood and cut off, with all that can be logged being
// logged, and then looks for its address in all that was written or told.
func TestNoClientAddresses(t *testing.T) {
	t.Parallel()
	const client = "127.0.77.77" // nothing else uses it
	c, where := geoConfig(t)
	c.json["log"] = map[string]any{"level": "debug"}
	c.json["state_dir"] = t.TempDir()
	c.set("dns", "rate_limit", 20)
	c.set("http", "trusted_proxies", []string{})
	p := c.serve(t, where, geoPool)
	from := func(network string) net.Dialer {
		if network == "udp" {
			return net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(client)}, Timeout: patience}
		}
		return net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(client)}, Timeout: patience}
	}
	send := func(network, addr string, message []byte, half bool) {
		t.Helper()
		dialer := from(network)
		conn, err := dialer.Dial(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.Write(message)
		if half { // and away, with a reset
			if tcp, ok := conn.(*net.TCPConn); ok {
				tcp.SetLinger(0)
			}
			return
		}
		conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		io.Copy(io.Discard, io.LimitReader(conn, 1<<16)) // whatever it says
	}
	var messages [][]byte
	for _, qtype := range []uint16{dns.TypeA, dns.TypeANY, dns.TypeAXFR, dns.TypeIXFR} {
		for _, name := range []string{"dl.example.org.", "nothing.dl.example.org.", "example.com."} {
			packed, err := new(dns.Msg).SetQuestion(name, qtype).Pack()
			if err != nil {
				t.Fatal(err)
			}
			messages = append(messages, packed, packed[:len(packed)-3], append(packed, 0))
		}
	}
	for i, message := range messages {
		send("udp", p.dns, message, true)
		send("tcp", p.dns, append([]byte{byte(len(message) >> 8), byte(len(message))}, message...), i%2 == 0)
	}
	for i, request := range []string{
		"GET /x HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/9\r\n\r\n", "\x16\x03\x01\x02\x00\x01", "GET /%zz HTTP/1.0\r\n\r\n",
		"POST / HTTP/1.0\r\n\r\n",
		"GET /x?mirrorlist HTTP/1.0\r\n\r\n", "GET /x HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: " + client + "\r\nForwarded: for=" +
			client + "\r\n\r\n",
		"GET /" + strings.Repeat("a", 20_000) + " HTTP/1.1\r\n\r\n", "GET /x HTTP/1.1\r\n",
	} {
		for _, addr := range []string{p.web, p.admin} {
			send("tcp", addr, []byte(request), i%2 == 0)
			send("tcp", addr, []byte(request), i%2 == 1)
		}
	}
	dialer := from("tcp")
	browser := &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext}, Timeout: patience}
	told := map[string][]byte{}
	for _, path := range []string{"/", "/metrics", "/api/v1/status"} {
		resp, err := browser.Get("http://" + p.admin + path)
		if err != nil {
			t.Fatal(err)
		}
		if told[path], err = io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %v, %s", path, err, resp.Status)
		}
		resp.Body.Close()
	}
	if !bytes.Contains(told["/metrics"], []byte(`rcode="FORMERR"`)) || !bytes.Contains(told["/metrics"], []byte(`rcode="REFUSED"`)) {
		t.Errorf("the client was not misunderstood, or not refused:\n%s", told["/metrics"])
	}
	p.stop(t)
	told["the log"] = []byte(p.log.String())
	state := c.json["state_dir"].(string)
	for name := range filesBelow(t, state) {
		var err error
		if told[name], err = os.ReadFile(filepath.Join(state, name)); err != nil {
			t.Fatal(err)
		}
	}
	if len(told) < 6 {
		t.Errorf("there is not much to look through: %d", len(told))
	}
	ip := net.ParseIP(client).To4()
	for name, text := range told {
		for _, form := range []string{client, fmt.Sprintf("%x", []byte(ip)), string(ip), "127.0.77."} {
			if bytes.Contains(text, []byte(form)) {
				t.Errorf("%s holds the client's address as %q", name, form)
			}
		}
	}
}
