package systest

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/testdata/testbed"
)

// A switchboard passes DNS on to one of several servers, over UDP and TCP: at one address, a secondary meets now the
// one and now the other.
type switchboard struct {
	addr string
	to   atomic.Pointer[string]
}

func newSwitchboard(t *testing.T, to string) *switchboard {
	t.Helper()
	const here = "127.0.0.1"
	b := &switchboard{addr: net.JoinHostPort(here, testbed.FreePort(t, here))}
	b.to.Store(&to)
	packets, err := net.ListenPacket("udp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { packets.Close(); l.Close() })
	go b.passPackets(packets)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go b.passStream(conn)
		}
	}()
	return b
}

func (b *switchboard) passPackets(packets net.PacketConn) {
	buf := make([]byte, 4096)
	for {
		n, from, err := packets.ReadFrom(buf)
		if err != nil {
			return
		}
		query := slices.Clone(buf[:n])
		go func() {
			conn, err := net.DialTimeout("udp", *b.to.Load(), time.Second)
			if err != nil {
				return
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(2 * time.Second))
			response := make([]byte, 4096)
			if _, err := conn.Write(query); err != nil {
				return
			}
			if n, err := conn.Read(response); err == nil {
				packets.WriteTo(response[:n], from)
			}
		}()
	}
}

func (b *switchboard) passStream(from net.Conn) {
	defer from.Close()
	to, err := net.DialTimeout("tcp", *b.to.Load(), time.Second)
	if err != nil {
		return
	}
	defer to.Close()
	go func() {
		io.Copy(to, from)
		to.(*net.TCPConn).CloseWrite()
	}()
	io.Copy(from, to)
}

// A groupRig is two primaries that share what they see, and BIND, Knot and NSD, which take the zone through a
// switchboard.
type groupRig struct {
	t           *testing.T
	deployments [2]*deployment
	servers     [2]*program
	board       *switchboard
	secondaries []*neighbour
}

// newGroupRig starts all. change changes the section dns of each primary, and begin runs before the second starts.
func newGroupRig(t *testing.T, change func(name string, dns map[string]any), begin func(first, second *deployment)) *groupRig {
	t.Helper()
	const here = "127.0.0.1"
	names := []string{"bind", "knot", "nsd"}
	var at []string
	for range names {
		at = append(at, net.JoinHostPort(here, testbed.FreePort(t, here)))
	}
	r := &groupRig{t: t}
	first, s := hiddenPrimary(t, at...)
	second := first.beside(t, "hidden-primary.json")
	second.dns = net.JoinHostPort(here, testbed.FreePort(t, here))
	second.json["dns"] = map[string]any{}
	for key, value := range first.json["dns"].(map[string]any) {
		second.set("dns", key, value)
	}
	second.set("dns", "listen", []string{second.dns})
	r.deployments = [2]*deployment{first, second}
	secret := make([]byte, 32)
	rand.Read(secret)
	watch := [2]string{net.JoinHostPort(here, testbed.FreePort(t, here)), net.JoinHostPort(here, testbed.FreePort(t, here))}
	for i, d := range r.deployments {
		name := fmt.Sprint("ns", i+1)
		d.json["watch"] = map[string]any{"name": name, "listen": watch[i], "join": watch, "key_file": "watch.key"}
		if err := os.WriteFile(filepath.Join(d.dir, "watch.key"), []byte(base64.StdEncoding.EncodeToString(secret)), 0o600); err != nil {
			t.Fatal(err)
		}
		d.set("dns", "max_answers", 3) // all, as secondaries answer
		change(name, d.json["dns"].(map[string]any))
		if i == 1 {
			begin(first, second)
		}
		r.servers[i] = d.start(t)
	}
	r.board = newSwitchboard(t, first.dns)
	for i, name := range names {
		r.secondaries = append(r.secondaries, s.secondary(t, name, at[i], r.board.addr, s.secret))
	}
	return r
}

// list puts a list without some mirrors in force at both primaries, and waits until they and their secondaries, which
// ask the given primary, serve that under one serial.
func (r *groupRig) list(primary int, disabled ...string) {
	r.t.Helper()
	r.board.to.Store(&r.deployments[primary].dns)
	// The other one goes ahead: secondaries do not see a version that lasts for a moment, until both agree on the serial.
	for _, i := range [...]int{1 - primary, primary} {
		before := serialAt(r.servers[i].dns, poolZone)
		r.deployments[i].write(r.t, "mirrors.json", r.deployments[i].pool(disabled...))
		testbed.Eventually(r.t, "a new version is served", func() bool { return serialAt(r.servers[i].dns, poolZone) != before })
	}
	enabled := slices.DeleteFunc([]string{"a", "b", "c"}, func(name string) bool { return slices.Contains(disabled, name) })
	r.follow(primary, enabled...)
}

// follow waits until all serve some mirrors, under one serial.
func (r *groupRig) follow(primary int, mirrors ...string) {
	r.t.Helper()
	want := r.deployments[0].addresses(mirrors...)
	testbed.Eventually(r.t, "both primaries have one version", func() bool {
		return serialAt(r.servers[0].dns, poolZone) == serialAt(r.servers[1].dns, poolZone)
	})
	follow(r.t, r.servers[primary], r.secondaries, want)
	for _, p := range r.servers {
		if got := addressesAt(p.dns, poolZone, dns.TypeA); !slices.Equal(got, want) {
			r.t.Errorf("a primary serves %v, want %v", got, want)
		}
	}
	for _, n := range r.secondaries {
		for _, name := range []string{"a", "b", "c"} {
			want := r.deployments[0].addresses(name)
			if !slices.Contains(mirrors, name) {
				want = nil
			}
			if got := addressesAt(n.addr, name+"."+poolZone, dns.TypeA); !slices.Equal(got, want) {
				r.t.Errorf("%s has %v for %s, want %v", n.name, got, name, want)
			}
		}
	}
}

// transfers is how many transfers of a kind a primary has answered.
func (r *groupRig) transfers(primary int, kind string) float64 {
	return metric(r.t, r.deployments[primary].admin, fmt.Sprintf(`mirrorpool_transfer_requests_total{kind=%q,result="ok"}`, kind))
}

// TestGroupSecondaries has secondaries take the zone from one server of a group, and its changes from the other, back
// and forth. No change may fail to fit what they have: then they would ask for the whole zone.
func TestGroupSecondaries(t *testing.T) {
	t.Parallel()
	r := newGroupRig(t, func(string, map[string]any) {}, func(_, _ *deployment) {})
	r.follow(0, "a", "b", "c")
	whole := r.transfers(0, "axfr") + r.transfers(0, "full")
	for i := range 6 {
		disabled := [][]string{{"c"}, nil, {"a"}}[i%3]
		changes := r.transfers((i+1)%2, "ixfr")
		r.list((i+1)%2, disabled...)
		testbed.Eventually(t, "all have taken the change", func() bool { return r.transfers((i+1)%2, "ixfr") >= changes+3 })
	}
	if again := r.transfers(0, "axfr") + r.transfers(0, "full") - whole; again > 0 {
		t.Errorf("the first was asked for the whole zone %v times more", again)
	}
	if again := r.transfers(1, "axfr") + r.transfers(1, "full"); again > 0 {
		t.Errorf("the second was asked for the whole zone %v times", again)
	}

	// A version that the second has never had: it answers IXFR with the whole zone (RFC 1995 section 4).
	r.servers[1].stop(t)
	r.board.to.Store(&r.deployments[0].dns)
	first := r.deployments[0]
	first.write(t, "mirrors.json", first.pool("b"))
	follow(t, r.servers[0], r.secondaries, first.addresses("a", "c"))
	r.board.to.Store(&r.deployments[1].dns)
	before := serialAt(first.dns, poolZone)
	first.write(t, "mirrors.json", first.pool())
	testbed.Eventually(t, "the secondaries are behind", func() bool { return serialAt(first.dns, poolZone) != before })
	second := r.deployments[1]
	r.servers[1] = second.serve(t, &program{dns: second.dns, admin: second.admin}, second.pool())
	r.follow(1, "a", "b", "c")
	testbed.Eventually(t, "all have been given the whole zone", func() bool { return r.transfers(1, "full") >= 3 })
}

// TestGroupSecondariesSigned: two servers sign with the same keys, which the first makes. What one signs holds beside
// what the other does, and secondaries never get changes, which would not fit the other's signatures.
func TestGroupSecondariesSigned(t *testing.T) {
	t.Parallel()
	r := newGroupRig(t, func(name string, dns map[string]any) {
		dns["nsid"], dns["dnssec"] = name, map[string]any{"keys": "auto", "leader": "ns1"}
	}, func(first, second *deployment) {
		dir := filepath.Join(second.dir, "state")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("cp", "-a", filepath.Join(first.dir, "state", "keys"), dir).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	})
	anchor := anchorOf(t, r.deployments[0])
	r.follow(0, "a", "b", "c")
	for i := range 2 {
		r.list((i+1)%2, [][]string{{"c"}, nil}[i%2]...)
		r.crossSigned()
		for k, p := range r.servers {
			checkValidated(t, anchor, p.dns, fmt.Sprint("ns", k+1))
		}
		for _, n := range r.secondaries {
			checkValidated(t, anchor, n.addr, n.name)
		}
	}
	for i := range r.servers {
		if changes := r.transfers(i, "ixfr"); changes > 0 {
			t.Errorf("ns%d has given changes of signatures %v times", i+1, changes)
		}
	}
}

// crossSigned checks record sets of one primary by the signatures of the other, as a resolver may have them.
func (r *groupRig) crossSigned() {
	r.t.Helper()
	ask := func(server int, name string, qtype uint16) (set []dns.RR, signatures []*dns.RRSIG) {
		req := new(dns.Msg).SetQuestion(name, qtype)
		req.SetEdns0(1232, true)
		resp, _, err := (&dns.Client{Net: "tcp", Timeout: 5 * time.Second}).Exchange(req, r.servers[server].dns)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, rr := range resp.Answer {
			if signature, ok := rr.(*dns.RRSIG); ok {
				signatures = append(signatures, signature)
			} else {
				set = append(set, rr)
			}
		}
		return set, signatures
	}
	keys := map[uint16]*dns.DNSKEY{}
	set, _ := ask(0, poolZone, dns.TypeDNSKEY)
	for _, rr := range set {
		keys[rr.(*dns.DNSKEY).KeyTag()] = rr.(*dns.DNSKEY)
	}
	for _, q := range []struct {
		name  string
		qtype uint16
	}{{poolZone, dns.TypeSOA}, {poolZone, dns.TypeNS}, {poolZone, dns.TypeDNSKEY}, {poolZone, dns.TypeA}, {"b." + poolZone, dns.TypeA}} {
		for i := range r.servers {
			set, _ := ask(i, q.name, q.qtype)
			_, signatures := ask(1-i, q.name, q.qtype)
			if len(signatures) == 0 {
				r.t.Errorf("no signature of %s %s", q.name, dns.TypeToString[q.qtype])
			}
			for _, signature := range signatures {
				if err := signature.Verify(keys[signature.KeyTag], set); err != nil {
					r.t.Errorf("%s %s of ns%d, with the other's signature: %v", q.name, dns.TypeToString[q.qtype], i+1, err)
				}
			}
		}
	}
}
