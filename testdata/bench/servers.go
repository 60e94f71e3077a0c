package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A server is one that can be measured. prepare writes its configuration and returns the command that runs it in
// the foreground.
type server struct {
	name    string
	program string
	prepare func(site) ([]string, error)
}

// A site is where one server runs once.
type site struct {
	dir     string
	port    int
	mirrors int
	signed  bool
}

// weights are those of the pool's mirrors, over and over.
var weights = []int{10, 20, 30, 10, 10, 20}

// installed builds mirrorpool and returns it with the other servers that there are.
func installed(dir string) ([]server, error) {
	binary, err := build(dir)
	if err != nil {
		return nil, err
	}
	servers := []server{mirrorpool(binary)}
	for _, s := range []server{{"nsd", "nsd", nsd}, {"knot", "knotd", knot}, {"bind", "named", bind}} {
		path, err := exec.LookPath(s.program)
		if err != nil {
			path, err = exec.LookPath(filepath.Join("/usr/sbin", s.program))
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s is not installed\n", s.program)
			continue
		}
		prepare := s.prepare
		servers = append(servers, server{s.name, path, func(at site) ([]string, error) {
			command, err := prepare(at)
			return append([]string{path}, command...), err
		}})
	}
	return servers, nil
}

func mirrorpool(binary string) server {
	return server{"mirrorpool", binary, func(s site) ([]string, error) {
		return []string{binary, "serve", "--config", "mirrorpool.json"}, s.writeMirrorpool()
	}}
}

func (s site) addresses(i int) (v4, v6 string) {
	return fmt.Sprintf("198.18.%d.%d", i/250, i%250+1), fmt.Sprintf("2001:db8::%x", i+1)
}

func (s site) write(name, format string, args ...any) error {
	return os.WriteFile(filepath.Join(s.dir, name), fmt.Appendf(nil, format, args...), 0o644)
}

func (s site) writeMirrorpool() error {
	var mirrors []string
	for i := range s.mirrors {
		v4, v6 := s.addresses(i)
		mirrors = append(mirrors, fmt.Sprintf(`{"url_prefix": "https://m%d.example.org/tails/", "weight": %d, "dns": {"addresses": ["%s", "%s"]}}`,
			i, weights[i%len(weights)], v4, v6))
	}
	if err := s.write("mirrors.json", `{"version": 1, "mirrors": [%s]}`, strings.Join(mirrors, ",\n")); err != nil {
		return err
	}
	signing := ""
	if s.signed {
		signing = `, "dnssec": {"keys": "auto"}`
		if err := os.Mkdir(filepath.Join(s.dir, "state"), 0o700); err != nil {
			return err
		}
	}
	return s.write("mirrorpool.json", `{"state_dir": "state",
		"dns": {"listen": ["127.0.0.1:%d"], "zone": "dl.example.org", "nameservers": ["ns1.example.org", "ns2.example.org"]%s},
		"http": {"listen": "-"}, "admin": {"listen": "-"}, "health": {"enabled": false}}`, s.port, signing)
}

// writeZone writes the pool as plain records.
func (s site) writeZone() error {
	var zone strings.Builder
	zone.WriteString("$ORIGIN dl.example.org.\n$TTL 60\n@ SOA ns1.example.org. hostmaster.example.org. 1 3600 600 86400 60\n@ NS ns1.example.org.\n@ NS ns2.example.org.\n")
	for i := range s.mirrors {
		v4, v6 := s.addresses(i)
		fmt.Fprintf(&zone, "@ A %s\n@ AAAA %s\n", v4, v6)
	}
	if err := s.write("zone", "%s", zone.String()); err != nil || !s.signed {
		return err
	}
	return s.tools([]string{"dnssec-keygen", "-q", "-a", "ECDSAP256SHA256", "-f", "KSK", "dl.example.org"},
		[]string{"dnssec-signzone", "-z", "-P", "-S", "-o", "dl.example.org", "-f", "zone", "zone"})
}

// tools runs programs in the site's folder, one after the other.
func (s site) tools(commands ...[]string) error {
	for _, command := range commands {
		cmd := exec.Command(command[0], command[1:]...)
		cmd.Dir = s.dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w\n%s", command, err, out)
		}
	}
	return nil
}

func nsd(s site) ([]string, error) {
	if err := s.writeZone(); err != nil {
		return nil, err
	}
	return []string{"-d", "-c", "nsd.conf"}, s.write("nsd.conf", `server:
  ip-address: 127.0.0.1@%[1]d
  server-count: 1
  username: ""
  zonesdir: "%[2]s"
  database: ""
  pidfile: "%[2]s/pid"
  xfrdfile: "%[2]s/xfrd"
  xfrdir: "%[2]s"
  rrl-ratelimit: 0
  zonelistfile: "%[2]s/zones"
  round-robin: yes
  minimal-responses: yes
remote-control:
  control-enable: no
zone:
  name: dl.example.org
  zonefile: zone
`, s.port, s.dir)
}

// knot answers with one address, picked by weight.
func knot(s site) ([]string, error) {
	if err := s.write("zone", "$ORIGIN dl.example.org.\n$TTL 60\n@ SOA ns1.example.org. hostmaster.example.org. 1 3600 600 86400 60\n@ NS ns1.example.org.\n@ NS ns2.example.org.\n"); err != nil {
		return nil, err
	}
	var pool strings.Builder
	pool.WriteString("dl.example.org:\n")
	for i := range s.mirrors {
		v4, v6 := s.addresses(i)
		fmt.Fprintf(&pool, "  - weight: %d\n    A: %s\n    AAAA: %s\n", weights[i%len(weights)], v4, v6)
	}
	if err := s.write("pool.yaml", "%s", pool.String()); err != nil {
		return nil, err
	}
	policy, signing := "", ""
	if s.signed {
		policy = "policy:\n  - id: manual\n    manual: on\n    single-type-signing: on\n    algorithm: ECDSAP256SHA256\n"
		signing = "    dnssec-signing: on\n    dnssec-policy: manual\n"
	}
	err := s.write("knot.conf", `server:
    listen: 127.0.0.1@%[1]d
    rundir: %[2]s
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: %[2]s/db
log:
  - target: stderr
    any: error
%[3]smod-geoip:
  - id: pool
    config-file: %[2]s/pool.yaml
    ttl: 60
    mode: weighted
zone:
  - domain: dl.example.org
    storage: %[2]s
    file: zone
    zonefile-sync: -1
    module: mod-geoip/pool
%[4]s`, s.port, s.dir, policy, signing)
	if err == nil && s.signed {
		err = s.tools([]string{"mkdir", "db"}, []string{"keymgr", "-c", "knot.conf", "dl.example.org", "generate", "algorithm=ECDSAP256SHA256", "ksk=yes", "zsk=yes"})
	}
	return []string{"-c", "knot.conf"}, err
}

func bind(s site) ([]string, error) {
	if err := s.writeZone(); err != nil {
		return nil, err
	}
	many := ""
	if s.mirrors > 100 { // above the default; older versions do not know the option
		many = "max-records-per-type 0;"
	}
	return []string{"-f", "-n", "1", "-c", "named.conf"}, s.write("named.conf", `options {
	directory "%[2]s"; pid-file "pid"; session-keyfile "session.key"; managed-keys-directory "%[2]s";
	listen-on port %[1]d { 127.0.0.1; }; listen-on-v6 { none; };
	recursion no; minimal-responses yes; rrset-order { order random; }; notify no; %[3]s
};
controls { };
zone "dl.example.org" { type primary; file "zone"; };
`, s.port, s.dir, many)
}
