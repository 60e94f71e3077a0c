package systest

import (
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mirrorpool/testdata/testbed"
)

// TestSecondAuthority: the second authority is asked if the first one fails, and one that never answers holds up
// neither the start nor the end of the program.
func TestSecondAuthority(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	r := newACMERig(t, "download.example.net")
	r.acme([]string{"download.example.net"}, map[string]any{"directory": []string{"https://127.0.0.1:9/dir", r.pebble.Directory}})
	r.serve(t)
	r.await(t, "download.example.net")
	r.program.stop(t)
	if err := os.RemoveAll(filepath.Join(r.config.dir, "state")); err != nil {
		t.Fatal(err)
	}
	r.acme([]string{"download.example.net"}, map[string]any{"directory": "https://" + silent.Addr().String() + "/dir"})
	r.serve(t)
	if err := silent.(*net.TCPListener).SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	conn, err := silent.Accept()
	if err != nil {
		t.Fatalf("the silent authority is not asked: %v", err)
	}
	defer conn.Close()
	began := time.Now()
	r.program.stop(t)
	t.Logf("ended after %v", time.Since(began).Round(time.Millisecond))
}

// TestTwoInstances: two servers with a state of their own each get a certificate at one authority.
func TestTwoInstances(t *testing.T) {
	t.Parallel()
	names := []string{"one.example.net", "two.example.net"}
	hosts := map[string]string{names[0]: "127.0.0.1", names[1]: "127.0.0.2"}
	httpPort, httpsPort := testbed.FreePort(t, "127.0.0.1", "127.0.0.2"), testbed.FreePort(t, "127.0.0.1", "127.0.0.2")
	pebble, _ := testbed.StartPebble(t, testbed.PebbleOptions{
		Resolver: testbed.StartNames(t, hosts, nil), HTTPPort: httpPort, TLSPort: httpsPort,
	})
	rigs := make([]acmeRig, len(names))
	for i, name := range names {
		r := &rigs[i]
		r.config, r.where = newServerConfig(t)
		r.pebble, r.http, r.https = pebble, net.JoinHostPort(hosts[name], httpPort), net.JoinHostPort(hosts[name], httpsPort)
		r.config.json["state_dir"] = "state"
		r.config.set("health", "enabled", false)
		r.config.set("http", "listen", []string{r.http})
		r.acme([]string{name}, nil)
		r.serve(t)
	}
	for i, name := range names {
		rigs[i].await(t, name)
		rigs[i].program.stop(t)
	}
}

// TestExternalAccount gets a certificate at an authority that requires an external account.
func TestExternalAccount(t *testing.T) {
	t.Parallel()
	const eab = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
	r := newACMERig(t, "download.example.net")
	o := r.options
	o.ExternalAccounts = map[string]string{"kid-1": eab}
	r.pebble, _ = testbed.StartPebble(t, o)
	file := filepath.Join(r.config.dir, "eab.key")
	if err := os.WriteFile(file, []byte(eab+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.acme([]string{"download.example.net"}, map[string]any{"eab": map[string]any{"kid": "kid-1", "key_file": file}})
	r.serve(t)
	r.await(t, "download.example.net")
	if strings.Contains(r.program.log.String(), eab[:20]) {
		t.Error("the key of the external account is in the log")
	}
	r.program.stop(t)
}

// TestAuthorityForgetsAccount has an authority come back without its accounts: another one is registered.
func TestAuthorityForgetsAccount(t *testing.T) {
	t.Parallel()
	r := newACMERig(t, "one.example.net", "two.example.net")
	o := r.options
	o.Listen, o.Signer = "127.0.0.1:"+testbed.FreePort(t), testbed.NewAuthority(t)
	pebble, stop := testbed.StartPebble(t, o)
	r.pebble = pebble
	r.acme([]string{"one.example.net"}, nil)
	r.serve(t)
	r.await(t, "one.example.net")
	stop()
	r.pebble, _ = testbed.StartPebble(t, o)
	r.acme([]string{"two.example.net"}, nil)
	r.config.write(t, "mirrorpool.json", r.config.json)
	if code, stdout, stderr := command(t, "reload", "--admin", r.where.admin); code != exitOK {
		t.Fatalf("reload: %d\n%s%s", code, stdout, stderr)
	}
	r.await(t, "two.example.net")
	if text := r.program.log.String(); !strings.Contains(text, "a CAA record with the old accounturi has to be changed") {
		t.Errorf("no warning that the accounturi has changed:\n%s", text)
	}
	r.program.stop(t)
}

// TestOtherAuthorityRenews has a certificate that is due renewed by an authority that did not issue it, and so refuses
// an order that replaces it: the next one in the list, or another one behind the same directory.
func TestOtherAuthorityRenews(t *testing.T) {
	t.Parallel()
	for name, same := range map[string]bool{"next in the list": false, "behind the same directory": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const name = "download.example.net"
			r := newACMERig(t, name)
			o := r.options
			o.Signer, o.Listen = testbed.NewAuthority(t), "127.0.0.1:"+testbed.FreePort(t)
			o.Validity = 10 * time.Minute // so short that renewal is due at once
			first, stop := testbed.StartPebble(t, o)
			next := o
			next.Validity = 0
			directories := []string{first.Directory}
			if !same {
				next.Listen = "127.0.0.1:" + testbed.FreePort(t)
				directories = append(directories, "https://"+next.Listen+"/dir")
			}
			r.pebble = first
			r.acme([]string{name}, map[string]any{"directory": directories})
			r.serve(t)
			r.await(t, name)
			r.program.stop(t)
			stop()
			r.pebble, _ = testbed.StartPebble(t, next)
			r.serve(t)
			r.await(t, name)
			r.program.stop(t)
		})
	}
}

// TestOtherDirectory changes the authority by a reload, which gets a certificate there at once. The one of the former
// authority is served until then, after a restart too.
func TestOtherDirectory(t *testing.T) {
	t.Parallel()
	const name = "download.example.net"
	r := newACMERig(t, name)
	o := r.options
	o.Signer = testbed.NewAuthority(t)
	first, _ := testbed.StartPebble(t, o)
	o.Validity = 24 * time.Hour // less than at the first one
	second, _ := testbed.StartPebble(t, o)
	use := func(directory string) {
		r.acme([]string{name}, map[string]any{"directory": directory})
		r.config.write(t, "mirrorpool.json", r.config.json)
		if code, stdout, stderr := command(t, "reload", "--admin", r.where.admin); code != exitOK {
			t.Fatalf("reload: %d\n%s%s", code, stdout, stderr)
		}
	}
	r.pebble = first
	r.acme([]string{name}, nil)
	r.serve(t)
	r.await(t, name)
	use(second.Directory)
	r.pebble = second
	r.await(t, name)
	r.program.stop(t)
	if err := os.RemoveAll(filepath.Join(r.config.dir, "state", "certificates", "certificates", saved(first.Directory))); err != nil {
		t.Fatal(err)
	}
	r.acme([]string{name}, map[string]any{"directory": "https://127.0.0.1:9/dir"})
	r.serve(t)
	if _, err := r.handshake(second.Roots(t), name); err != nil {
		t.Errorf("after a restart with a directory that is away: %v", err)
	}
	use(first.Directory)
	r.pebble = first
	r.await(t, name)
	r.program.stop(t)
}

// saved is the name of an authority in state_dir.
func saved(directory string) string {
	return strings.NewReplacer("https://", "", "/", "-", ":", "-").Replace(directory)
}

// TestCertificateByUpdate gets certificates for a name in a zone of BIND, and for the names below it, by DNS-01 with
// updates.
func TestCertificateByUpdate(t *testing.T) {
	t.Parallel()
	at := "127.0.0.1:" + testbed.FreePort(t)
	s := newSite(t, "")
	s.primary(t, "bind", at)
	r := newACMERig(t)
	o := r.options
	o.Resolver = testbed.StartNames(t, nil, map[string]string{"example.org": at})
	r.pebble, _ = testbed.StartPebble(t, o)
	r.config.json["publish"] = []any{map[string]any{"server": at, "zone": "example.org", "names": []string{"dl"}, "tsig": s.key}}
	r.acme([]string{"download.example.org", "*.download.example.org"}, map[string]any{"challenge": "dns-01"})
	r.serve(t)
	r.await(t, "download.example.org", "any.download.example.org")
	testbed.Eventually(t, "the TXT records are gone", func() bool {
		left, err := txtAt(at, "_acme-challenge.download.example.org.")
		return err == nil && len(left) == 0
	})
	r.program.stop(t)
}

// TestTwoInstancesOfOneName: two servers that answer at one name, with a state of their own, order at the same time. By
// updates at BIND, where an authority finds the records of both, each gets a certificate.
func TestTwoInstancesOfOneName(t *testing.T) {
	t.Parallel()
	const name = "download.example.org"
	at := "127.0.0.1:" + testbed.FreePort(t)
	s := newSite(t, "")
	s.primary(t, "bind", at)
	rigs := []*acmeRig{newACMERig(t), newACMERig(t)}
	o := rigs[0].options
	o.Resolver = testbed.StartNames(t, nil, map[string]string{"example.org": at})
	pebble, _ := testbed.StartPebble(t, o)
	for _, r := range rigs {
		r.pebble = pebble
		r.config.json["publish"] = []any{map[string]any{"server": at, "zone": "example.org", "names": []string{"dl"}, "tsig": s.key}}
		r.acme([]string{name}, map[string]any{"challenge": "dns-01"})
		r.serve(t)
	}
	var certs []*x509.Certificate
	for _, r := range rigs {
		r.await(t, name)
		cert, err := r.handshake(pebble.Roots(t), name)
		if err != nil {
			t.Fatal(err)
		}
		certs = append(certs, cert)
	}
	if certs[0].Equal(certs[1]) {
		t.Error("both serve one certificate")
	}
	testbed.Eventually(t, "the TXT records are gone", func() bool {
		left, err := txtAt(at, "_acme-challenge."+name+".")
		return err == nil && len(left) == 0
	})
	for _, r := range rigs {
		r.program.stop(t)
	}
}
