//go:build linux

package systest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mirrorpool/testdata/testbed"

	"github.com/miekg/dns"
)

// An internet is a namespace with a root server, which delegates to the servers of example.org, which delegate to
// mirrorpool. All of them are there at addresses that pass for public ones, and at port 53.
type internet struct {
	*host
	signed bool // from the root down to the parent
}

// Where the servers of the internet are. mirrorpool is at the addresses of both of its names.
var internetServers = map[string][]string{
	"a.root-servers.net.": {"9.1.0.1", "2a00:1::1"},
	"ns1.example.org.":    {"9.2.0.1", "2a00:2::1"},
	"ns2.example.org.":    {"9.3.0.1", "2a00:3::1"},
	"one":                 {"9.4.0.1", "2a00:4::1"},
	"two":                 {"9.5.0.1", "2a00:5::1"},
}

// newInternet makes the namespace.
func newInternet(t *testing.T, name string) internet {
	t.Helper()
	for program, debianPackage := range map[string]string{"ip": "iproute2", "knotd": "knot", "zonemaster-cli": "zonemaster-cli",
		"dnsviz": "dnsviz"} {
		testbed.Need(t, program, debianPackage)
	}
	b := &box{t: t, dir: t.TempDir(), id: fmt.Sprintf("mp%d-internet-%s", os.Getpid(), name)} // a box has a host "parent", too
	h := &host{box: b, name: name, ns: b.id}
	if out, err := exec.Command("ip", "netns", "add", h.ns).CombinedOutput(); err != nil {
		testbed.Lack(t, "network namespaces cannot be made, as root they can: %s", out)
	}
	t.Cleanup(func() { exec.Command("ip", "netns", "del", h.ns).Run() })
	b.ip("-n", h.ns, "link", "set", "lo", "up")
	for _, addrs := range internetServers {
		b.ip("-n", h.ns, "addr", "add", addrs[0]+"/32", "dev", "lo")
		b.ip("-n", h.ns, "addr", "add", addrs[1]+"/128", "dev", "lo", "nodad")
	}
	// DNSViz wants a way to the world, at the end of which there is nothing.
	b.ip("-n", h.ns, "link", "add", "world", "type", "veth", "peer", "name", "nothing")
	b.ip("-n", h.ns, "link", "set", "world", "up")
	b.ip("-n", h.ns, "link", "set", "nothing", "up")
	b.ip("-n", h.ns, "route", "add", "default", "dev", "world", "src", internetServers["one"][0])
	b.ip("-n", h.ns, "-6", "route", "add", "default", "dev", "world")
	b.write("resolv.conf", "nameserver 127.0.0.1\n") // where there is none
	return internet{host: h}
}

// addressRecords are those of a server, in a zone file.
func addressRecords(owner, server string) string {
	addrs := internetServers[server]
	return fmt.Sprintf("%s A %s\n%[1]s AAAA %[3]s\n", owner, addrs[0], addrs[1])
}

// startParents starts the servers of the root and of example.org, whose zone ends with the delegation. ours are
// mirrorpool's names.
func (n internet) startParents(delegation string, ours [2]string) {
	n.t.Helper()
	root := "$TTL 86400\n. SOA a.root-servers.net. nstld.example.org. 1 14400 3600 1209600 86400\n. NS a.root-servers.net.\n" +
		addressRecords("a.root-servers.net.", "a.root-servers.net.") +
		"example.org. NS ns1.example.org.\nexample.org. NS ns2.example.org.\n" +
		addressRecords("ns1.example.org.", "ns1.example.org.") + addressRecords("ns2.example.org.", "ns2.example.org.")
	for i, server := range []string{"one", "two"} {
		for _, addr := range internetServers[server] {
			reverse, err := dns.ReverseAddr(addr)
			if err != nil {
				n.t.Fatal(err)
			}
			root += reverse + " PTR " + ours[i] + "\n"
		}
	}
	parent := "$TTL 3600\n@ SOA ns1 hostmaster 1 14400 3600 1209600 3600\n@ NS ns1\n@ NS ns2\n@ MX 10 ns1\n" +
		addressRecords("ns1", "ns1.example.org.") + addressRecords("ns2", "ns2.example.org.") + delegation
	n.startKnot("root", ".", root, "a.root-servers.net.")
	n.startKnot("parent", "example.org.", parent, "ns1.example.org.", "ns2.example.org.")
}

func (n internet) startKnot(name, zone, text string, servers ...string) {
	n.t.Helper()
	var listen []string
	for _, server := range servers {
		listen = append(listen, internetServers[server]...)
	}
	file := n.write(name+"/zone", text)
	signing := "off"
	if n.signed {
		signing = "on"
	}
	conf := n.write(name+"/knot.conf", fmt.Sprintf(`server:
  listen: [ %s ]
  rundir: %[2]s
database:
  storage: %[2]s
log:
  - target: stderr
    any: warning
zone:
  - domain: %[3]q
    file: %[4]s
    zonefile-sync: -1
    zonefile-load: difference
    journal-content: all
    dnssec-signing: %[5]s
`, strings.Join(listen, ", "), filepath.Dir(file), zone, file, signing))
	n.start(nil, testbed.Need(n.t, "knotd", "knot"), "-c", conf)
	n.await(listen[0], zone)
}

// startOurs starts mirrorpool with the given keys of dns, at the addresses of servers, with one more section if it is
// not nil.
func (n internet) startOurs(keys map[string]any, watch any, servers ...string) {
	n.t.Helper()
	program, err := buildProgram()
	if err != nil {
		n.t.Fatal(err)
	}
	var listen []string
	for _, server := range servers {
		for _, addr := range internetServers[server] {
			listen = append(listen, net.JoinHostPort(addr, "53"))
		}
	}
	keys["zone"], keys["listen"] = "dl.example.org", listen
	sections := map[string]any{"dns": keys, "http": map[string]any{"listen": "-"}, "health": map[string]any{"enabled": false}}
	if watch != nil {
		sections["watch"] = watch
	}
	conf, err := json.Marshal(sections)
	if err != nil {
		n.t.Fatal(err)
	}
	n.write("mirrors.json", `{"version": 1, "mirrors": [
		{"url_prefix": "https://m1.example.net/tails/", "name": "m1", "weight": 10, "dns": {"addresses": ["9.6.0.1", "2a00:6::1"]}},
		{"url_prefix": "https://m2.example.net/tails/", "weight": 10, "dns": {"addresses": ["9.7.0.1", "2a00:7::1"]}}]}`)
	n.start(nil, program, "serve", "--config", n.write(strings.Join(servers, "-")+".json", string(conf)))
	n.await(internetServers[servers[0]][0], poolZone)
}

// startPair starts a mirrorpool at each of its names, in different seconds, and so with different serials. If they are
// grouped, it waits until they agree on one.
func (n internet) startPair(keys map[string]any, grouped bool) {
	n.t.Helper()
	secret := sha256.Sum256([]byte("of the test"))
	n.write("watch.key", base64.StdEncoding.EncodeToString(secret[:]))
	if err := os.Chmod(filepath.Join(n.dir, "watch.key"), 0o600); err != nil {
		n.t.Fatal(err)
	}
	join := []string{internetServers["one"][0] + ":7946", internetServers["two"][0] + ":7946"}
	for i, server := range []string{"one", "two"} {
		if i > 0 {
			testbed.Eventually(n.t, "another second has come", func() bool {
				return time.Now().Unix() > int64(n.serial("one"))
			})
		}
		var watch any
		if grouped {
			watch = map[string]any{"name": server, "listen": join[i], "join": join, "key_file": "watch.key"}
		}
		n.startOurs(keys, watch, server)
	}
	if grouped {
		testbed.Eventually(n.t, "both have one serial", func() bool { return n.serial("one") == n.serial("two") })
	}
}

// await waits until a server answers for a zone.
func (n internet) await(addr, zone string) {
	n.t.Helper()
	testbed.Eventually(n.t, addr+" answers for "+zone, func() bool { return n.serialOf(addr, zone) != 0 })
}

// serial is that of the pool's zone at one of our servers, or 0.
func (n internet) serial(server string) uint32 {
	return n.serialOf(internetServers[server][0], poolZone)
}

func (n internet) serialOf(addr, zone string) uint32 {
	conn, err := n.dial(n.t.Context(), "udp", netip.AddrPortFrom(netip.MustParseAddr(addr), 53).String())
	if err != nil {
		return 0
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Second))
	resp, _, err := new(dns.Client).ExchangeWithConn(new(dns.Msg).SetQuestion(zone, dns.TypeSOA), &dns.Conn{Conn: conn})
	if err != nil || !resp.Authoritative || len(resp.Answer) != 1 {
		return 0
	}
	return resp.Answer[0].(*dns.SOA).Serial
}

// What Zonemaster notes of a zone that is as it is meant to be.
var (
	unsignedZone = []string{
		"NOTICE DNSSEC NEITHER_DNSKEY_NOR_DS", // answers that change with the mirrors are not signed
		"NOTICE DNSSEC NOT_SIGNED",
	}
	quickZone = []string{
		"NOTICE ZONE REFRESH_MINIMUM_VALUE_LOWER",         // secondaries are to ask often, should NOTIFY get lost
		"NOTICE ZONE RETRY_MINIMUM_VALUE_LOWER",           // likewise
		"NOTICE ZONE SOA_DEFAULT_TTL_MAXIMUM_VALUE_LOWER", // that there is no address may change as soon as the addresses do
		"NOTICE ZONE Z09_MISSING_MAIL_TARGET",             // a pool of mirrors takes no mail
	}
)

// newZoneKey makes a key for mirrorpool's zone, and returns its file and the DS record that the parent is to have.
func (n internet) newZoneKey() (file, ds string) {
	n.t.Helper()
	keygen := testbed.Need(n.t, "dnssec-keygen", "bind9-utils")
	out, err := exec.Command(keygen, "-q", "-K", n.dir, "-a", "ECDSAP256SHA256", "-f", "KSK", "dl.example.org").Output()
	if err != nil {
		n.t.Fatal(err)
	}
	file = filepath.Join(n.dir, strings.TrimSpace(string(out))+".key")
	out, err = exec.Command(testbed.Need(n.t, "dnssec-dsfromkey", "bind9-utils"), "-2", file).Output()
	if err != nil {
		n.t.Fatal(err)
	}
	return file, string(out)
}

// TestDelegation has Zonemaster and DNSViz follow a delegation from the root to mirrorpool. It lists all that they
// say, so that a new notice, warning or error fails it.
func TestDelegation(t *testing.T) {
	testbed.SkipLong(t)
	t.Parallel()
	const inZone = `$TTL 3600
@ SOA ns1 hostmaster 1 14400 3600 1209600 300
@ NS ns1
@ NS ns2
@ MX 10 mail
@ TXT "v=spf1 -all"
mail A 9.4.0.1
`
	for name, test := range map[string]struct {
		names      [2]string // of the servers
		delegation string    // in the parent's zone
		zoneFile   string
		signed     bool
		pair       bool // a server at each of the names
		grouped    bool // that share what they see
		zonemaster []string
		dnsviz     []string
	}{
		"parent": {
			names:      [2]string{"ns3.example.org.", "ns4.example.org."},
			delegation: "dl NS ns3\ndl NS ns4\n" + addressRecords("ns3", "one") + addressRecords("ns4", "two"),
			zonemaster: slices.Concat(unsignedZone, quickZone),
		},
		"own": {
			names:      [2]string{"ns1.dl.example.org.", "ns2.dl.example.org."},
			delegation: "dl NS ns1.dl\ndl NS ns2.dl\n" + addressRecords("ns1.dl", "one") + addressRecords("ns2.dl", "two"),
			zoneFile:   inZone + addressRecords("ns1", "one") + addressRecords("ns2", "two"),
			zonemaster: unsignedZone,
		},
		"signed": {
			names:      [2]string{"ns1.dl.example.org.", "ns2.dl.example.org."},
			delegation: "dl NS ns1.dl\ndl NS ns2.dl\n" + addressRecords("ns1.dl", "one") + addressRecords("ns2.dl", "two"),
			zoneFile:   inZone + addressRecords("ns1", "one") + addressRecords("ns2", "two"),
			signed:     true,
		},
		// Two servers: CONSISTENCY01 of Zonemaster wants one serial; 02, 03 and 06 want the rest of the SOA record to be the
		// same, and 04 and 05 the nameservers and their addresses.
		"group": {
			names:      [2]string{"ns3.example.org.", "ns4.example.org."},
			delegation: "dl NS ns3\ndl NS ns4\n" + addressRecords("ns3", "one") + addressRecords("ns4", "two"),
			pair:       true, grouped: true,
			zonemaster: slices.Concat(unsignedZone, quickZone),
		},
		"signed-group": {
			names:      [2]string{"ns1.dl.example.org.", "ns2.dl.example.org."},
			delegation: "dl NS ns1.dl\ndl NS ns2.dl\n" + addressRecords("ns1.dl", "one") + addressRecords("ns2.dl", "two"),
			zoneFile:   inZone + addressRecords("ns1", "one") + addressRecords("ns2", "two"),
			signed:     true, pair: true, grouped: true,
		},
		// Two that do not know of each other, so that Zonemaster has something to find.
		"strangers": {
			names:      [2]string{"ns3.example.org.", "ns4.example.org."},
			delegation: "dl NS ns3\ndl NS ns4\n" + addressRecords("ns3", "one") + addressRecords("ns4", "two"),
			pair:       true,
			zonemaster: slices.Concat([]string{"NOTICE CONSISTENCY SOA_SERIAL_VARIATION", "WARNING CONSISTENCY MULTIPLE_SOA_SERIALS",
				"WARNING ZONE Z01_MNAME_NOT_MASTER"}, unsignedZone, quickZone),
		},
		// The glue of ns2 leads to another server, so that both tools have something to find.
		"wrong": {
			names:      [2]string{"ns1.dl.example.org.", "ns2.dl.example.org."},
			delegation: "dl NS ns1.dl\ndl NS ns2.dl\n" + addressRecords("ns1.dl", "one") + addressRecords("ns2.dl", "ns2.example.org."),
			zoneFile:   inZone + addressRecords("ns1", "one") + addressRecords("ns2", "two"),
			zonemaster: append([]string{"ERROR CONSISTENCY IN_BAILIWICK_ADDR_MISMATCH", "NOTICE CONSISTENCY EXTRA_ADDRESS_CHILD"},
				unsignedZone...),
			dnsviz: []string{"errors MISSING_SOA_FOR_NODATA", "errors NOT_AUTHORITATVE", "errors SERVER_NOT_AUTHORITATIVE",
				"warnings GLUE_MISMATCH"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newInternet(t, name)
			keys := map[string]any{"nameservers": test.names}
			if test.zoneFile != "" {
				keys = map[string]any{"zone_file": n.write("dl.zone", test.zoneFile)}
			}
			if n.signed = test.signed; n.signed {
				file, ds := n.newZoneKey()
				keys["dnssec"] = map[string]any{"keys": []string{file}}
				test.delegation += ds
			}
			n.startParents(test.delegation, test.names)
			if test.pair {
				n.startPair(keys, test.grouped)
			} else {
				n.startOurs(keys, nil, "one", "two")
			}
			for tool, said := range map[string]struct{ got, want []string }{
				"Zonemaster": {n.zonemaster(), test.zonemaster}, "DNSViz": {n.dnsviz(), test.dnsviz},
			} {
				if !slices.Equal(said.got, slices.Sorted(slices.Values(said.want))) {
					t.Errorf("%s says:\n%s\nwant:\n%s", tool, strings.Join(said.got, "\n"), strings.Join(said.want, "\n"))
				}
			}
		})
	}
}
