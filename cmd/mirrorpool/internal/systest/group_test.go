package systest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"mirrorpool/testdata/testbed"
)

// TestGroup runs what README.md recommends for several servers that watch together: two nameservers, and a helper that
// looks through a SOCKS5 proxy as through Tor's.
func TestGroup(t *testing.T) {
	t.Parallel()
	microsocks := testbed.Need(t, "microsocks", "microsocks")
	const here, proxy = "127.0.0.1", "127.0.0.96"
	proxyPort := testbed.FreePort(t, proxy)
	t.Cleanup(testbed.Start(t, exec.Command(microsocks, "-i", proxy, "-p", proxyPort)))
	ports := []string{testbed.FreePort(t, here), testbed.FreePort(t, here), testbed.FreePort(t, here)}
	join := []string{"ns1.example.org:7946", net.JoinHostPort(here, ports[0]), "ns2.example.org:7946", net.JoinHostPort(here, ports[1])}
	secret := sha256.Sum256([]byte("of the test"))

	dns := []string{here + ":" + testbed.FreePort(t, here), here + ":" + testbed.FreePort(t, here)}
	first := deploy(t, "group.json", append([]string{"192.0.2.1:53", dns[0], "192.0.2.1:80", here + ":" + testbed.FreePort(t, here),
		"192.0.2.1:7946", net.JoinHostPort(here, ports[0])}, join...)...)
	second := first.beside(t, "group.json", append([]string{`"name": "ns1"`, `"name": "ns2"`, "192.0.2.1:53", dns[1],
		"192.0.2.1:80", here + ":" + testbed.FreePort(t, here), "192.0.2.1:7946", net.JoinHostPort(here, ports[1])}, join...)...)
	tor := first.beside(t, "group-tor.json", append([]string{"192.0.2.3:7946", net.JoinHostPort(here, ports[2])}, join...)...)
	tor.json["health"].(map[string]any)["proxy"] = "socks5://" + net.JoinHostPort(proxy, proxyPort)

	var servers []*program
	for i, d := range []*deployment{first, second, tor} {
		key := base64.StdEncoding.EncodeToString(secret[:])
		if err := os.WriteFile(filepath.Join(d.dir, "watch.key"), []byte(key), 0o600); err != nil {
			t.Fatal(err)
		}
		if i < len(dns) {
			d.dns = dns[i]
		}
		servers = append(servers, d.start(t))
	}
	testbed.Eventually(t, "all three watch together", func() bool {
		return !slices.ContainsFunc(servers, func(p *program) bool {
			group := p.status(t).Watch
			return !group.Joint || len(group.Watchers) != 2
		})
	})
	sameVersion := func() bool { return servers[0].status(t).Serial == servers[1].status(t).Serial }
	testbed.Eventually(t, "both serve the same version", sameVersion)
	if got := servers[0].inDNS(t); len(got) != 3 || !maps.Equal(got, servers[1].inDNS(t)) {
		t.Errorf("answers %v and %v, want three mirrors", got, servers[1].inDNS(t))
	}
	first.mirrors["a"].stop()
	testbed.Eventually(t, "the failed mirror is out at both", func() bool {
		return len(servers[0].inDNS(t)) == 2 && len(servers[1].inDNS(t)) == 2
	})
	testbed.Eventually(t, "the helper sees that through the proxy", func() bool {
		code, text, _ := command(t, "probe", "--from", "tor", "--admin", servers[0].admin, "a")
		return code == exitFailure && len(text) > 0
	})

	testbed.Eventually(t, "both serve the same version again", sameVersion)
	serial := servers[0].status(t).Serial
	both := base64.StdEncoding.EncodeToString(secret[:]) + "\n" + base64.StdEncoding.EncodeToString(make([]byte, len(secret)))
	if err := os.WriteFile(filepath.Join(first.dir, "watch.key"), []byte(both), 0o600); err != nil {
		t.Fatal(err)
	}
	servers[0].wantReload(t, exitOK, "configuration: watch.key_file changed\npool: nothing new")

	// A server that is stopped is not missed, and one that starts again with the same zone has the same serial.
	servers[1].stop(t)
	testbed.Eventually(t, "the others know that the server was stopped", func() bool {
		ns2 := servers[0].status(t).Watch.Watcher("ns2")
		return ns2 != nil && ns2.Stopped
	})
	if _, err := os.Stat(filepath.Join(second.dir, "state", "joint-verdicts")); err != nil {
		t.Error(err)
	}
	servers[1] = second.start(t)
	testbed.Eventually(t, "all three watch together again", func() bool { return servers[1].status(t).Watch.Joint })
	for i, p := range servers[:len(dns)] {
		if got := p.status(t).Serial; got != serial {
			t.Errorf("server %d: serial %d after a reload of the first and a restart of the second, want %d", i+1, got, serial)
		}
	}
	for _, p := range servers {
		p.stop(t)
	}
}

// beside returns a deployment with another configuration of deployed, on the mirrors of d.
func (d *deployment) beside(t testing.TB, file string, oldNew ...string) *deployment {
	t.Helper()
	other := &deployment{network: d.network, port: d.port, mirrors: d.mirrors}
	if err := json.Unmarshal([]byte(replaceAll(t, file, oldNew...)), &other.json); err != nil {
		t.Fatal(err)
	}
	other.serverConfig = &serverConfig{dir: t.TempDir(), json: other.json}
	other.admin = "127.0.0.1:" + testbed.FreePort(t, "127.0.0.1")
	for _, key := range []string{"mirrors", "mirrors_guard", "state_dir"} {
		other.json[key] = d.json[key]
	}
	other.json["health"] = maps.Clone(d.json["health"].(map[string]any))
	other.json["admin"] = map[string]any{"listen": other.admin}
	return other
}
