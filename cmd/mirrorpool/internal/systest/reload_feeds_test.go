package systest

import (
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestReloadFeeds has a running server let others transfer, with a key, tell them of changes, and take another key.
func TestReloadFeeds(t *testing.T) {
	t.Parallel()
	c, where := newServerConfig(t)
	c.set("health", "enabled", false)
	p := c.serve(t, where, mirrorsText(t, "1 10", "2 10"))
	if _, err := transferWith(p.dns, "", ""); err == nil {
		t.Fatal("the zone can be transferred before a server may")
	}

	secret := writeNewKey(t, c, "first")
	secondary := newNotified(t)
	c.set("dns", "tsig_keys", []string{"xfr.key"})
	c.set("dns", "allow_transfer", []string{"xfr"})
	c.set("dns", "notify", []string{secondary.LocalAddr().String()})
	c.write(t, "mirrorpool.json", c.json)
	p.wantReload(t, 0, "configuration: dns.notify, dns.allow_transfer, dns.tsig_keys changed\npool: nothing new")
	secondary.await(t)
	if records, err := transferWith(p.dns, "xfr.", secret); err != nil || records < 4 {
		t.Errorf("with the key: %d records, %v", records, err)
	}
	if _, err := transferWith(p.dns, "", ""); err == nil {
		t.Error("the zone can be transferred without the key")
	}

	// Another secret in the same file.
	next := writeNewKey(t, c, "second")
	p.wantReload(t, 0, "configuration: dns.tsig_keys would change\npool: nothing new", "--dry-run")
	if _, err := transferWith(p.dns, "xfr.", secret); err != nil {
		t.Errorf("after a dry run the key is not in force any longer: %v", err)
	}
	p.wantReload(t, 0, "configuration: dns.tsig_keys changed\npool: nothing new")
	if _, err := transferWith(p.dns, "xfr.", secret); err == nil {
		t.Error("the old key is still in force")
	}
	if _, err := transferWith(p.dns, "xfr.", next); err != nil {
		t.Errorf("with the new key: %v", err)
	}

	// A file that other users can read changes nothing.
	if err := os.Chmod(filepath.Join(c.dir, "xfr.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := command(t, "reload", "--admin", p.admin)
	if code != 1 || !strings.Contains(stderr, "other users can read or change it") {
		t.Errorf("exit code %d, %q", code, stderr)
	}
	if _, err := transferWith(p.dns, "xfr.", next); err != nil {
		t.Errorf("after a reload that was refused: %v", err)
	}
}

// writeNewKey writes a key file with a secret made of a word, and returns the secret.
func writeNewKey(t *testing.T, c *serverConfig, word string) string {
	t.Helper()
	secret := base64.StdEncoding.EncodeToString([]byte(strings.Repeat(word+" ", 8)))
	path := filepath.Join(c.dir, "xfr.key")
	text := fmt.Sprintf("key xfr { algorithm hmac-sha256; secret %q; };\n", secret)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return secret
}

// transferWith transfers the zone, signed if there is a key, and returns how many records it has.
func transferWith(server, key, secret string) (records int, err error) {
	req := new(dns.Msg).SetAxfr("dl.example.org.")
	tr := &dns.Transfer{DialTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second}
	if key != "" {
		tr.TsigSecret = map[string]string{key: secret}
		req.SetTsig(key, dns.HmacSHA256, 300, time.Now().Unix())
	}
	envelopes, err := tr.In(req, server)
	if err != nil {
		return 0, err
	}
	for e := range envelopes {
		if e.Error != nil {
			return records, e.Error
		}
		records += len(e.RR)
	}
	return records, nil
}

// A notified is a secondary that waits for NOTIFY.
type notified struct{ net.PacketConn }

func newNotified(t *testing.T) *notified {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &notified{conn}
}

func (n *notified) await(t *testing.T) {
	t.Helper()
	n.SetReadDeadline(time.Now().Add(20 * time.Second))
	buf := make([]byte, 512)
	size, from, err := n.ReadFrom(buf)
	if err != nil {
		t.Fatalf("no NOTIFY has come: %v", err)
	}
	req := new(dns.Msg)
	if err := req.Unpack(buf[:size]); err != nil || req.Opcode != dns.OpcodeNotify {
		t.Fatalf("%v, %v; want a NOTIFY", req, err)
	}
	resp, err := new(dns.Msg).SetReply(req).Pack()
	if err != nil {
		t.Fatal(err)
	}
	n.WriteTo(resp, from)
}
