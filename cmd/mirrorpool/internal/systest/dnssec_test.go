package systest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"mirrorpool/testdata/testbed"
)

// anchorOf writes the key that signs the zone of a deployment to a file, as delv wants it.
func anchorOf(t *testing.T, d *deployment) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(d.dir, "state", "keys", "*.key"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%q, %v; want one key", files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	rr, err := dns.NewRR(string(text))
	if err != nil {
		t.Fatal(err)
	}
	key := rr.(*dns.DNSKEY)
	file := filepath.Join(t.TempDir(), "anchor")
	testbed.Put(t, file, fmt.Sprintf("trust-anchors { %q static-key %d %d %d %q; };\n", poolZone, key.Flags, key.Protocol, key.Algorithm,
		key.PublicKey))
	return file
}

// validated asks a server through delv, which validates, and returns what that says of the answer.
func validated(t *testing.T, anchor, addr, name, qtype string) string {
	t.Helper()
	host, port, _ := strings.Cut(addr, ":")
	out, _ := exec.Command(testbed.Need(t, "delv", "bind9-dnsutils"), "-a", anchor, "+root="+poolZone, "@"+host, "-p", port,
		name, qtype).CombinedOutput() // which calls a denial a failure
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "validated") {
			return strings.TrimSpace(line)
		}
	}
	return string(out)
}

// checkValidated wants each kind of answer of a server to be valid.
func checkValidated(t *testing.T, anchor, addr, server string) {
	t.Helper()
	for _, q := range [][2]string{{poolZone, "A"}, {poolZone, "SOA"}, {poolZone, "DNSKEY"}, {"b." + poolZone, "A"}} {
		if got := validated(t, anchor, addr, q[0], q[1]); got != "; fully validated" {
			t.Errorf("%s, %v: %s", server, q, got)
		}
	}
	for _, q := range [][2]string{{poolZone, "TXT"}, {"nothing." + poolZone, "A"}, {"b." + poolZone, "MX"}} {
		if got := validated(t, anchor, addr, q[0], q[1]); got != "; negative response, fully validated" {
			t.Errorf("%s, %v: %s", server, q, got)
		}
	}
}

// TestSignedSecondaries has BIND, Knot and NSD take the signed zone and follow a mirror that fails. All that they
// answer is valid, as is the zone as a whole.
func TestSignedSecondaries(t *testing.T) {
	t.Parallel()
	d, _, p, secondaries := startSecondaries(t, func(dns map[string]any) {
		dns["dnssec"] = map[string]any{"keys": "auto"}
		dns["allow_transfer"] = append(dns["allow_transfer"].([]any), "127.0.0.0/8")
	})
	anchor := anchorOf(t, d)
	check := func() {
		t.Helper()
		checkZone(t, p.dns)
		checkValidated(t, anchor, p.dns, "mirrorpool")
		for _, n := range secondaries {
			checkValidated(t, anchor, n.addr, n.name)
		}
	}
	follow(t, p, secondaries, d.addresses("a", "b", "c"))
	check()
	serial := serialAt(p.dns, poolZone)
	d.mirrors["c"].stop()
	follow(t, p, secondaries, d.addresses("a", "b"))
	check()
	if changes := int32(serialAt(p.dns, poolZone) - serial); changes == 1 {
		if got := ixfrLines(t, p.dns, serial); got > 4+2*(3+3+1) { // SOA records; a set, its signature and that of SOA, and the digest with its own, each time
			t.Errorf("a transfer of %d records for one mirror", got)
		}
	}
}

// checkZone transfers the zone, and has the tools of several servers check it.
func checkZone(t *testing.T, addr string) {
	t.Helper()
	host, port, _ := strings.Cut(addr, ":")
	out, err := exec.Command(testbed.Need(t, "dig", "bind9-dnsutils"), "@"+host, "-p", port, poolZone, "AXFR", "+onesoa").Output()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "zone")
	testbed.Put(t, file, string(out))
	for _, check := range [][]string{
		{"ldns-verify-zone", "ldnsutils", "-ZZ", file}, {"dnssec-verify", "bind9-utils", "-z", "-o", poolZone, file},
		{"named-checkzone", "bind9-utils", poolZone, file}, {"nsd-checkzone", "nsd", poolZone, file},
		{"kzonecheck", "knot-dnssecutils", "-o", poolZone, "-d", "on", file},
	} {
		if out, err := exec.Command(testbed.Need(t, check[0], check[1]), check[2:]...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", check[0], err, out)
		}
	}
}

// ixfrLines is how many records a transfer of what has changed since a serial has.
func ixfrLines(t *testing.T, addr string, serial uint32) int {
	t.Helper()
	host, port, _ := strings.Cut(addr, ":")
	out, err := exec.Command(testbed.Need(t, "dig", "bind9-dnsutils"), "@"+host, "-p", port, poolZone, fmt.Sprintf("IXFR=%d", serial),
		"+noall", "+answer").Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return len(slices.DeleteFunc(lines, func(line string) bool { return line == "" || strings.HasPrefix(line, ";") }))
}

// TestKSKRolloverAtKnot lists the next KSK ahead of its time, with Knot as a secondary that validates what it
// transfers. The next KSK signs the DNSKEY set from then on, so that the parent may have either DS record.
func TestKSKRolloverAtKnot(t *testing.T) {
	t.Parallel()
	keygen, folder := testbed.Need(t, "dnssec-keygen", "bind9-utils"), t.TempDir()
	key := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(keygen, append(append([]string{"-q", "-K", folder, "-a", "ECDSAP256SHA256"}, args...), poolZone)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		return filepath.Join(folder, strings.TrimSpace(string(out)))
	}
	list := []string{key("-f", "KSK"), key()}
	at := "127.0.0.1:" + testbed.FreePort(t, "127.0.0.1")
	d, s := hiddenPrimary(t, at)
	d.set("dns", "dnssec", map[string]any{"keys": list})
	p := d.start(t)
	s.validates = true
	knot := s.secondary(t, "knot", at, s.ours, s.secret)
	follow(t, p, []*neighbour{knot}, d.addresses("a", "b", "c"))

	d.set("dns", "dnssec", map[string]any{"keys": append(list, key("-f", "KSK", "-P", "now", "-A", "+30d"))})
	d.write(t, "mirrorpool.json", d.serverConfig.json)
	if code, _, stderr := command(t, "reload", "--admin", p.admin); code != exitOK {
		t.Fatalf("a reload with the next KSK: %s", stderr)
	}
	testbed.Eventually(t, "Knot has the next KSK, which signs the DNSKEY set", func() bool {
		req := new(dns.Msg).SetQuestion(poolZone, dns.TypeDNSKEY)
		req.SetEdns0(dns.DefaultMsgSize, true)
		resp, _, err := (&dns.Client{Net: "tcp"}).Exchange(req, knot.addr)
		return err == nil && len(resp.Answer) == 3+2 // DNSKEY and RRSIG records
	})
	d.mirrors["c"].stop()
	follow(t, p, []*neighbour{knot}, d.addresses("a", "b"))
}
