package systest

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/testdata/testbed"
)

// A fakeParent is a resolver that knows the DS records of one zone.
type fakeParent struct {
	addr string
	ds   atomic.Pointer[[]string]
}

func newFakeParent(t *testing.T) *fakeParent {
	t.Helper()
	p := &fakeParent{addr: "127.0.0.1:" + testbed.FreePort(t)}
	p.ds.Store(&[]string{})
	started := make(chan struct{})
	server := &dns.Server{Addr: p.addr, Net: "udp", NotifyStartedFunc: func() { close(started) }, Handler: dns.HandlerFunc(p.answer)}
	done := make(chan error, 1)
	go func() { done <- server.ListenAndServe() }()
	select {
	case err := <-done:
		t.Fatal(err)
	case <-started:
	}
	t.Cleanup(func() {
		server.Shutdown()
		<-done
	})
	return p
}

func (p *fakeParent) answer(w dns.ResponseWriter, req *dns.Msg) {
	resp := new(dns.Msg).SetReply(req)
	resp.RecursionAvailable = true
	for _, text := range *p.ds.Load() {
		if rr, err := dns.NewRR(strings.Replace(text, " IN ", " 3600 IN ", 1)); err == nil && req.Question[0].Qtype == dns.TypeDS {
			resp.Answer = append(resp.Answer, rr)
		}
	}
	w.WriteMsg(resp)
}

// A signedRig is a running server with one mirror and a signed zone.
type signedRig struct {
	*program
	config *serverConfig
	where  *program
	parent *fakeParent
	pool   any
}

func newSignedRig(t *testing.T, address string) *signedRig {
	t.Helper()
	return newSignedRigIn(t, address, t.TempDir())
}

// newSignedRigIn is newSignedRig with a folder of state.
func newSignedRigIn(t *testing.T, address, state string) *signedRig {
	t.Helper()
	c, where := newServerConfig(t)
	r := &signedRig{config: c, where: where, parent: newFakeParent(t)}
	c.json["state_dir"] = state
	c.set("dns", "dnssec", map[string]any{"keys": "auto", "resolver": r.parent.addr})
	port := testbed.FreePort(t, address)
	mirror := &testMirror{address: address, root: newTree(t, time.Now().Add(-time.Hour))}
	mirror.start(t, port)
	c.set("health", "dns_url", "http://{zone}:"+port+"/tails/project/trace")
	r.pool = map[string]any{"version": 1, "mirrors": []any{map[string]any{"url_prefix": "http://" + address + ":" + port + "/tails/", "weight": 1}}}
	r.program = c.serve(t, where, r.pool)
	return r
}

// run runs a command of the server, and returns its output. It wants an exit code.
func (r *signedRig) run(t *testing.T, code int, args ...string) string {
	t.Helper()
	got, stdout, stderr := command(t, append(args, "--admin", r.admin)...)
	if got != code {
		t.Fatalf("%v: exit code %d, want %d: %s%s", args, got, code, stdout, stderr)
	}
	return stdout + stderr
}

// key asks for the keys of the zone with DO, and returns the code and the tags.
func (r *signedRig) keys(t *testing.T) (rcode int, tags []uint16) {
	t.Helper()
	req := new(dns.Msg)
	req.SetQuestion(poolZone, dns.TypeDNSKEY)
	req.SetEdns0(1232, true)
	resp, _, err := (&dns.Client{Net: "tcp", Timeout: 5 * time.Second}).Exchange(req, r.dns)
	if err != nil {
		t.Fatal(err)
	}
	for _, rr := range resp.Answer {
		if key, ok := rr.(*dns.DNSKEY); ok {
			tags = append(tags, key.KeyTag())
		}
	}
	return resp.Rcode, tags
}

// TestDNSSECCommands follows an operator from the first key to a rollover.
func TestDNSSECCommands(t *testing.T) {
	t.Parallel()
	r := newSignedRig(t, "127.0.1.90")
	ds := strings.Split(strings.TrimSpace(r.run(t, exitOK, "dnssec", "ds")), "\n")
	if len(ds) != 1 || !strings.HasPrefix(ds[0], poolZone+" IN DS ") {
		t.Fatalf("DS records %q", ds)
	}
	testbed.Eventually(t, "the parent is looked at", func() bool {
		return strings.Contains(r.run(t, exitOK, "dnssec", "status"), "no validator looks at the signatures")
	})

	r.parent.ds.Store(&[]string{ds[0][:len(ds[0])-2] + "00"}) // of another key
	r.run(t, exitOK, "reload")                                // which has the parent looked at
	testbed.Eventually(t, "a wrong DS record is noticed", func() bool {
		code, out, _ := command(t, "dnssec", "status", "--admin", r.admin)
		return code == exitFailure && strings.Contains(out, "validators refuse it")
	})
	if got := metric(t, r.admin, "mirrorpool_dnssec_ds_matches"); got != 0 {
		t.Errorf("mirrorpool_dnssec_ds_matches is %v", got)
	}
	if out := r.run(t, exitOK, "status"); !strings.Contains(out, "Warning: The parent's DS records name no key that signs the zone's DNSKEY records") {
		t.Errorf("the status does not say that the parent has a wrong DS record:\n%s", out)
	}
	expires := time.Unix(int64(metric(t, r.admin, "mirrorpool_dnssec_signature_expiry_timestamp_seconds")), 0)
	if left := time.Until(expires); left < 6*24*time.Hour || left > 7*24*time.Hour {
		t.Errorf("the first signature holds for %v, want nearly a week", left)
	}
	r.config.set("dns", "dnssec", map[string]any{"keys": "auto", "resolver": r.parent.addr, "validity": "14d"})
	r.config.write(t, "mirrorpool.json", r.config.json)
	if out := r.run(t, exitOK, "reload"); !strings.Contains(out, "note: dns.dnssec.validity: signatures hold for 336 hours") {
		t.Errorf("a reload with another validity: %s", out)
	}
	r.parent.ds.Store(&ds)
	if out := r.run(t, exitFailure, "dnssec", "rollover", "--abort"); !strings.Contains(out, "no rollover is under way") {
		t.Errorf("--abort without a rollover: %s", out)
	}
	r.run(t, exitOK, "dnssec", "rollover")
	if out := r.run(t, exitOK, "dnssec", "rollover", "--abort"); !strings.Contains(out, "removed") || strings.Contains(out, "published") {
		t.Errorf("after the rollover was given up:\n%s", out)
	}
	status := r.run(t, exitOK, "dnssec", "rollover")
	if !strings.Contains(status, "published") || !strings.Contains(status, "Next: the parent is asked for a DS record of the key") {
		t.Errorf("after the rollover began:\n%s", status)
	}
	if out := r.run(t, exitFailure, "dnssec", "rollover"); !strings.Contains(out, "is under way") {
		t.Errorf("a second rollover: %s", out)
	}
	testbed.Eventually(t, "the right DS record is seen", func() bool {
		return metric(t, r.admin, "mirrorpool_dnssec_ds_matches") == 1 && metric(t, r.admin, `mirrorpool_dnssec_keys{state="published"}`) == 1
	})
	if _, tags := r.keys(t); len(tags) != 2 {
		t.Errorf("the keys are %v, want two", tags)
	}
	_, before := r.keys(t)
	r.stop(t)
	r.program = r.config.serve(t, r.where, r.pool)
	if _, after := r.keys(t); len(after) != 2 || !strings.Contains(r.run(t, exitOK, "dnssec", "status"), "Next: the parent is asked") {
		t.Errorf("after a restart in the middle of a rollover the keys are %v, were %v", after, before)
	}
}

// TestCopiedKeys has a second server of the zone follow a rollover that the first leads, by its key files alone. It
// does not begin one itself, nor start without keys.
func TestCopiedKeys(t *testing.T) {
	t.Parallel()
	first, second := newSignedRig(t, "127.0.1.93"), newSignedRig(t, "127.0.1.94")
	dirs := [2]string{first.config.json["state_dir"].(string), second.config.json["state_dir"].(string)}
	second.stop(t)
	if err := os.RemoveAll(dirs[1]); err != nil {
		t.Fatal(err)
	}
	copyKeys := func() {
		t.Helper()
		if err := os.RemoveAll(filepath.Join(dirs[1], "keys")); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("cp", "-a", filepath.Join(dirs[0], "keys"), dirs[1]).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if err := os.Mkdir(dirs[1], 0o700); err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]*signedRig{"ns1": first, "ns2": second} {
		r.config.set("dns", "nsid", name)
		r.config.set("dns", "dnssec", map[string]any{"keys": "auto", "resolver": r.parent.addr, "leader": "ns1"})
		r.config.write(t, "mirrorpool.json", r.config.json)
	}
	first.run(t, exitOK, "reload")
	code, _, stderr := command(t, "serve", "--config", filepath.Join(second.config.dir, "mirrorpool.json"))
	if code != exitUsage || !strings.Contains(stderr, "ns1 makes the keys of") {
		t.Errorf("the second without keys: exit code %d: %s", code, stderr)
	}
	copyKeys()
	second.program = second.config.serve(t, second.where, second.pool)
	_, one := first.keys(t)
	if _, two := second.keys(t); !slices.Equal(one, two) {
		t.Fatalf("the servers have the keys %v and %v, want the same", one, two)
	}
	if out := second.run(t, exitFailure, "dnssec", "rollover"); !strings.Contains(out, "ns1 leads the rollovers of") {
		t.Errorf("a rollover on the second: %s", out)
	}
	if out := second.run(t, exitOK, "dnssec", "status"); !strings.Contains(out, "Rollovers are led by ns1.") {
		t.Errorf("the second does not say which server leads:\n%s", out)
	}
	first.run(t, exitOK, "dnssec", "rollover")
	copyKeys()
	second.run(t, exitOK, "reload") // or in ten minutes
	if _, one = first.keys(t); len(one) != 2 {
		t.Errorf("the first has %v", one)
	}
	testbed.Eventually(t, "the second has the same keys", func() bool {
		_, two := second.keys(t)
		slices.Sort(one)
		slices.Sort(two)
		return slices.Equal(one, two)
	})
}

// TestWithdrawDS has a server ask its parent by CDS to remove its DS records.
func TestWithdrawDS(t *testing.T) {
	t.Parallel()
	r := newSignedRig(t, "127.0.1.92")
	r.config.set("dns", "dnssec", map[string]any{"keys": "auto", "resolver": r.parent.addr, "withdraw": true})
	r.config.write(t, "mirrorpool.json", r.config.json)
	r.run(t, exitOK, "reload")
	req := new(dns.Msg).SetQuestion(poolZone, dns.TypeCDS)
	resp, _, err := (&dns.Client{Timeout: 5 * time.Second}).Exchange(req, r.dns)
	if err != nil || len(resp.Answer) != 1 || !strings.HasSuffix(resp.Answer[0].String(), "\t0 0 0 00") {
		t.Errorf("%v, %v; want one CDS record that asks for none", err, resp)
	}
	testbed.Eventually(t, "it is seen that the parent has none", func() bool {
		return strings.Contains(r.run(t, exitOK, "dnssec", "status"), "dns.dnssec can be taken out")
	})
	delete(r.config.json["dns"].(map[string]any), "dnssec")
	r.config.write(t, "mirrorpool.json", r.config.json)
	r.run(t, exitOK, "reload")
	if out := r.run(t, exitFailure, "dnssec", "status"); !strings.Contains(out, "the zone is not signed") {
		t.Errorf("after signing was turned off: %s", out)
	}
	if _, tags := r.keys(t); len(tags) > 0 {
		t.Errorf("after signing was turned off there are keys: %v", tags)
	}
}

// TestKeysAreGone takes the keys away from a running server, and then has it start without them.
func TestKeysAreGone(t *testing.T) {
	t.Parallel()
	r := newSignedRig(t, "127.0.1.91")
	_, before := r.keys(t)
	state := r.config.json["state_dir"].(string)
	kept := filepath.Join(t.TempDir(), "keys")
	if err := os.Rename(filepath.Join(state, "keys"), kept); err != nil {
		t.Fatal(err)
	}
	if out := r.run(t, exitFailure, "reload"); !strings.Contains(out, "put them back from a backup") {
		t.Errorf("a reload without the keys: %s", out)
	}
	if rcode, tags := r.keys(t); rcode != dns.RcodeSuccess || len(tags) != 1 || tags[0] != before[0] {
		t.Errorf("after a reload without the keys: %s, keys %v", dns.RcodeToString[rcode], tags)
	}
	r.stop(t)
	code, _, stderr := command(t, "serve", "--config", filepath.Join(r.config.dir, "mirrorpool.json"))
	if code != exitUsage || !strings.Contains(stderr, "put them back from a backup") {
		t.Errorf("a start without the keys: exit code %d: %s", code, stderr)
	}
	if _, err := os.Stat(filepath.Join(state, "keys")); err == nil {
		t.Error("a start without the keys made new ones")
	}
	if err := os.Rename(kept, filepath.Join(state, "keys")); err != nil {
		t.Fatal(err)
	}
	r.program = r.config.serve(t, r.where, r.pool)
	if _, tags := r.keys(t); len(tags) != 1 || tags[0] != before[0] {
		t.Errorf("with the keys back: %v, want %v", tags, before)
	}
}

// TestListedKeysAndAuto moves keys between the list in the configuration and state_dir/keys, both ways, as README.md
// and the errors on the way say.
func TestListedKeysAndAuto(t *testing.T) {
	t.Parallel()
	r := newSignedRig(t, "127.0.1.104")
	_, before := r.keys(t)
	ds := strings.TrimSpace(r.run(t, exitOK, "dnssec", "ds"))
	r.parent.ds.Store(&[]string{ds})
	folder := filepath.Join(r.config.json["state_dir"].(string), "keys")
	configure := func(keys any) {
		t.Helper()
		r.config.set("dns", "dnssec", map[string]any{"keys": keys, "resolver": r.parent.addr})
		r.config.write(t, "mirrorpool.json", r.config.json)
	}
	same := func(when string, want int) {
		t.Helper()
		if rcode, tags := r.keys(t); rcode != dns.RcodeSuccess || len(tags) != want || !slices.Contains(tags, before[0]) {
			t.Errorf("%s: %s, keys %v, want %d with %v", when, dns.RcodeToString[rcode], tags, want, before)
		}
	}

	// Its own key is listed, from another place.
	elsewhere := filepath.Join(r.config.dir, "listed")
	if out, err := exec.Command("cp", "-a", folder, elsewhere).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	files, err := filepath.Glob(filepath.Join(elsewhere, "*.key"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	configure(files)
	r.run(t, exitOK, "reload")
	same("listed", 1)
	if out := r.run(t, exitFailure, "dnssec", "rollover"); !strings.Contains(out, "dnssec-keygen") {
		t.Errorf("a rollover of a listed key: %s", out)
	}

	// A ZSK is added, which "auto" does not take over.
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	configure("auto")
	if out := r.run(t, exitFailure, "reload"); !strings.Contains(out, "copy their files to "+folder) {
		t.Errorf("without the files in state_dir/keys: %s", out)
	}
	out, err := exec.Command(testbed.Need(t, "dnssec-keygen", "bind9-utils"), "-q", "-K", elsewhere, "-a", "ECDSAP256SHA256", "-P", "now", "-A",
		"now", poolZone).Output()
	if err != nil {
		t.Fatal(err)
	}
	zsk := filepath.Join(elsewhere, strings.TrimSpace(string(out)))
	configure(append(files, zsk))
	if out := r.run(t, exitFailure, "reload"); !strings.Contains(out, "dnssec-settime -A") {
		t.Errorf("a ZSK that signs at once: %s", out)
	}
	r.run(t, exitOK, "reload", "--confirm")
	same("with a ZSK", 2)
	if out, err := exec.Command("sh", "-ec", `mkdir -m 700 "$2"; cp -a "$1"*.key "$1"*.private "$2"; rm "$2"/*"$3"*`, "sh", elsewhere+"/", folder,
		filepath.Base(zsk)).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	configure("auto")
	if out := r.run(t, exitFailure, "reload"); !strings.Contains(out, "dnssec-settime -I") {
		t.Errorf("without the ZSK, whose signatures caches have: %s", out)
	}
	if out, err := exec.Command(testbed.Need(t, "dnssec-settime", "bind9-utils"), "-I", "now-1d", "-D", "now-1h", zsk).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	configure(append(files, zsk))
	r.run(t, exitOK, "reload", "--confirm") // caches are not waited for here
	same("once the ZSK is removed", 1)
	configure("auto")
	r.run(t, exitOK, "reload")
	same(`with "auto" again`, 1)
	r.run(t, exitOK, "dnssec", "rollover")
	same("in a rollover", 2)
	r.stop(t)
	r.program = r.config.serve(t, r.where, r.pool)
	same("after a restart", 2)
}
