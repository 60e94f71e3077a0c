package systest

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mirrorpool/testdata/testbed"
)

// pair returns configurations of two servers of one group, with the same mirrors.
func pair(t testing.TB) (first, second *deployment) {
	t.Helper()
	const here = "127.0.0.1"
	ports := []string{testbed.FreePort(t, here), testbed.FreePort(t, here)}
	join := []string{"ns1.example.org:7946", here + ":" + ports[0], "ns2.example.org:7946", here + ":" + ports[1]}
	dns := []string{here + ":" + testbed.FreePort(t, here), here + ":" + testbed.FreePort(t, here)}
	first = deploy(t, "group.json", append([]string{"192.0.2.1:53", dns[0], "192.0.2.1:80", here + ":" + testbed.FreePort(t, here),
		"192.0.2.1:7946", here + ":" + ports[0]}, join...)...)
	first.json["mirrors_guard"] = 0.5
	second = first.beside(t, "group.json", append([]string{`"name": "ns1"`, `"name": "ns2"`, "192.0.2.1:53", dns[1],
		"192.0.2.1:80", here + ":" + testbed.FreePort(t, here), "192.0.2.1:7946", here + ":" + ports[1]}, join...)...)
	for i, d := range []*deployment{first, second} {
		d.dns = dns[i]
		key := base64.StdEncoding.EncodeToString(make([]byte, 32))
		if err := os.WriteFile(filepath.Join(d.dir, "watch.key"), []byte(key), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return first, second
}

// TestGroupNotes has two servers share what people decide: drains, and updates of the list that are held back.
func TestGroupNotes(t *testing.T) {
	t.Parallel()
	first, second := pair(t)
	one, two := first.start(t), second.start(t)
	serves := func(p *program, names ...string) func() bool {
		return func() bool {
			got := p.inDNS(t)
			for _, address := range first.addresses(names...) {
				if !got[address] {
					return false
				}
			}
			return len(got) == len(names)
		}
	}
	for _, p := range []*program{one, two} {
		testbed.Eventually(t, "all serve", serves(p, "a", "b", "c"))
	}
	run := func(p *program, code int, want string, args ...string) {
		t.Helper()
		got, stdout, stderr := command(t, append(args, "--admin", p.admin)...)
		if text := stdout + stderr; got != code || !strings.Contains(text, want) {
			t.Errorf("%v: exit code %d, want %d, and %q in\n%s", args, got, code, want, text)
		}
	}
	warns := func(p *program, want string) {
		t.Helper()
		testbed.Eventually(t, want, func() bool {
			_, text, _ := command(t, "status", "--admin", p.admin)
			return strings.Contains(text, want)
		})
	}

	run(one, 0, "drained from", "drain", "a", "--for", "1h", "--reason", "disk swap", "--by", "ann")
	testbed.Eventually(t, "the other server heeds the drain", serves(two, "b", "c"))
	warns(two, "by ann at ns1: disk swap")
	run(two, 1, "was drained at the server ns1: run 'mirrorpool undrain' there", "undrain", "a")
	run(one, 0, "drained from", "drain", "b", "--for", "1h", "--reason", "too much", "--by", "ann")
	warns(two, "The watcher ns1 has 2 drains that are left out here") // of b, in two roles
	if !serves(two, "b", "c")() || !serves(one, "c")() {
		t.Errorf("answers %v and %v: what one server drains takes no more than half of the weight away at the other", one.inDNS(t), two.inDNS(t))
	}
	run(two, 0, "", "pardon", "a", "--for", "1h", "--reason", "it is well here", "--by", "bob")
	testbed.Eventually(t, "a server's own word comes first", serves(two, "a", "b", "c"))
	run(two, 0, "ended", "undrain", "a")
	run(one, 0, "ended", "undrain", "b")
	run(one, 0, "ended", "undrain", "a")
	for _, p := range []*program{one, two} {
		testbed.Eventually(t, "all serve again", serves(p, "a", "b", "c"))
	}

	// A drain outlives its server, and restarts of the others. While its server is gone, it can be ended elsewhere.
	run(one, 0, "drained from", "drain", "a", "--for", "1h", "--reason", "new disks", "--by", "ann")
	testbed.Eventually(t, "the other server heeds the drain", serves(two, "b", "c"))
	testbed.Eventually(t, "the drain is saved", func() bool {
		text, err := os.ReadFile(filepath.Join(second.dir, "state", "drains-elsewhere"))
		return err == nil && strings.Contains(string(text), "new disks")
	})
	two.cmd.Process.Kill()
	<-two.exited
	one.stop(t)
	two = second.start(t)
	if !serves(two, "b", "c")() {
		t.Errorf("answers %v of a restarted server, while the one with the drain is gone", two.inDNS(t))
	}
	warns(two, "by ann at ns1: new disks")
	run(two, 0, "ended", "undrain", "a")
	testbed.Eventually(t, "all serve again", serves(two, "a", "b", "c"))
	one = first.start(t)
	testbed.Eventually(t, "the server with the drain is back", serves(two, "b", "c"))
	run(one, 0, "ended", "undrain", "a")
	testbed.Eventually(t, "all serve again", serves(two, "a", "b", "c"))

	for _, d := range []*deployment{first, second} {
		d.write(t, "mirrors.json", d.pool("a", "b"))
	}
	run(one, 1, "held back", "reload")
	run(two, 1, "held back", "reload")
	warns(one, "The watcher ns2 holds back the same update: confirm it there, too.")
	run(one, 0, "", "reload", "--confirm")
	warns(one, "The watcher ns2 holds back the update of the list of mirrors that is in force here: if it is meant, run there")
	warns(two, "held back")
	if !serves(two, "a", "b", "c")() {
		t.Errorf("%v: what a person confirms at one server is not confirmed at the other", two.inDNS(t))
	}
	run(two, 0, "", "reload", "--confirm")
	testbed.Eventually(t, "only c", serves(two, "c"))
	one.stop(t)
	two.stop(t)
}

// TestCertificateInGroup has one server obtain a certificate whose authority asks another server of the zone, which is
// told to heed the challenges of its group. A third one, which is not, never answers with them.
func TestCertificateInGroup(t *testing.T) {
	t.Parallel()
	const here = "127.0.0.1"
	configs, wheres, join := [3]*serverConfig{}, [3]*program{}, []string{}
	for i := range configs {
		configs[i], wheres[i] = newServerConfig(t)
		join = append(join, here+":"+testbed.FreePort(t, here))
	}
	r := newACMERigAt(t, configs[0], wheres[0], wheres[1].dns)
	r.acme([]string{"www.dl.example.org"}, map[string]any{"challenge": "dns-01"})
	servers := [3]*program{}
	for i := 2; i >= 0; i-- { // the one with the certificate comes last
		c := configs[i]
		c.set("health", "enabled", false)
		c.json["watch"] = map[string]any{"name": fmt.Sprint("ns", i+1), "listen": join[i], "join": join, "key_file": "watch.key", "challenges": i == 1}
		if err := os.WriteFile(filepath.Join(c.dir, "watch.key"), []byte(base64.StdEncoding.EncodeToString(make([]byte, 32))), 0o600); err != nil {
			t.Fatal(err)
		}
		servers[i] = c.serve(t, wheres[i], onePool)
	}
	const name = "_acme-challenge.www.dl.example.org."
	testbed.Eventually(t, "the second server answers the challenge", func() bool {
		values, err := txtAt(wheres[1].dns, name)
		return err == nil && len(values) == 1
	})
	for i, want := range []int{0: 1, 2: 0} {
		if values, err := txtAt(wheres[i].dns, name); i != 1 && (err != nil || len(values) != want) {
			t.Errorf("ns%d: %v, %v; want %d", i+1, values, err, want)
		}
	}
	r.await(t, "www.dl.example.org")
	testbed.Eventually(t, "the challenge is gone at the second server", func() bool {
		values, err := txtAt(wheres[1].dns, name)
		return err == nil && len(values) == 0
	})
	for _, p := range servers {
		p.stop(t)
	}
}

// TestCorruptInGroup has one server read a file again that it has found good, because another one has found it corrupt.
func TestCorruptInGroup(t *testing.T) {
	t.Parallel()
	testbed.Need(t, "nginx", "nginx")
	const here = "127.0.0.1"
	join := []string{here + ":" + testbed.FreePort(t, here), here + ":" + testbed.FreePort(t, here)}
	watch := func(c *serverConfig, name, listen string) {
		c.json["watch"] = map[string]any{"name": name, "listen": listen, "join": join, "key_file": "watch.key"}
		if err := os.WriteFile(filepath.Join(c.dir, "watch.key"), []byte(base64.StdEncoding.EncodeToString(make([]byte, 32))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	one := newCorruptRig(t, map[string]any{"verify_rate": "0"}, func(c *serverConfig) { watch(c, "ns1", join[0]) })
	putFile(t, one.roots[0], corruptImage, one.image) // it is good at first
	c, where := newServerConfig(t)
	c.json["dns"] = one.config.json["dns"]
	c.json["state_dir"] = t.TempDir()
	c.json["files"] = map[string]any{"origin": filepath.Join(one.origin, "tails"), "verify_rate": "50MB"}
	watch(c, "ns2", join[1])
	two := c.serve(t, where, one.pool)
	testbed.Eventually(t, "the second server has read all copies", func() bool {
		read := 0
		for _, m := range two.status(t).Verification.Mirrors {
			read += m.Verified
		}
		return read == len(one.roots)
	})
	bad := bytes.Clone(one.image)
	bad[1<<20] ^= 1
	putFile(t, one.roots[0], corruptImage, bad)
	one.config.set("files", "verify_rate", "50MB")
	one.config.write(t, "mirrorpool.json", one.config.json)
	one.wantReload(t, exitOK, "configuration: files.verify_rate changed\npool: nothing new")
	for name, p := range map[string]*program{"the first": one.program, "the second": two} {
		testbed.Eventually(t, name+" server has found the corrupt file", func() bool {
			for _, m := range p.status(t).Verification.Mirrors {
				if len(m.Corrupt) == 1 {
					return true
				}
			}
			return false
		})
	}
	two.stop(t)
}
