package systest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"mirrorpool/testdata/testbed"
)

// TestDNSSECOnAFullDisk has a server whose disk is full answer as before, refuse a rollover, and start again; and do
// all of it once there is space.
func TestDNSSECOnAFullDisk(t *testing.T) {
	t.Parallel()
	disk := testbed.NewSmallDisk(t)
	r := newSignedRigIn(t, "127.0.1.95", disk.Dir)
	_, before := r.keys(t)
	same := func(when string) {
		t.Helper()
		if rcode, tags := r.keys(t); rcode != dns.RcodeSuccess || len(tags) != 1 || tags[0] != before[0] {
			t.Errorf("%s: %s, keys %v, want %v", when, dns.RcodeToString[rcode], tags, before)
		}
	}
	disk.Fill(t, 0)
	for range 2 {
		out := r.run(t, exitFailure, "dnssec", "rollover")
		if !strings.Contains(out, "cannot keep the keys of") || !strings.Contains(out, "no space left on device") || strings.Contains(out, "409") {
			t.Errorf("a rollover on a full disk: %s", out)
		}
		same("after a rollover that could not begin")
		if code, out, _ := command(t, "dnssec", "status", "--admin", r.admin); code != exitFailure || !strings.Contains(out, "no space left on device") {
			t.Errorf("after a rollover that could not begin, the exit code of status is %d: %s", code, out)
		}
		if got := metric(t, r.admin, "mirrorpool_dnssec_key_files_ok"); got != 0 || !strings.Contains(r.log.String(), "a rollover cannot begin") {
			t.Errorf("mirrorpool_dnssec_key_files_ok is %v, and the log: %s", got, r.log)
		}
	}
	r.run(t, exitOK, "reload")
	same("after a reload")
	r.stop(t)
	disk.Fill(t, 0) // the end has saved something, or tried to
	r.program = r.config.serve(t, r.where, r.pool)
	same("after a restart")
	disk.Empty(t)
	r.run(t, exitOK, "dnssec", "rollover")
	if _, tags := r.keys(t); len(tags) != 2 {
		t.Errorf("with space again a rollover begins with the keys %v, want two", tags)
	}
}

// TestBadKeyFiles spoils the key files of a running server. The keys before sign on, and the error says why.
func TestBadKeyFiles(t *testing.T) {
	t.Parallel()
	r := newSignedRig(t, "127.0.1.96")
	_, before := r.keys(t)
	files, err := filepath.Glob(filepath.Join(r.config.json["state_dir"].(string), "keys", "*.private"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, want string
		spoil      func() error
	}{
		{"others can read it", "chmod 600", func() error { return os.Chmod(files[0], 0o644) }},
		{"it is cut", "want a private key of the algorithm", func() error { return os.Truncate(files[0], 100) }},
		{"it is a folder", "not a regular file", func() error { os.Remove(files[0]); return os.Mkdir(files[0], 0o700) }},
		{"it is gone", "no such file", func() error { return os.Remove(files[0]) }},
	} {
		if err := test.spoil(); err != nil {
			t.Fatal(err)
		}
		if out := r.run(t, exitFailure, "reload"); !strings.Contains(out, test.want) {
			t.Errorf("%s: the reload says %q, want %q", test.name, out, test.want)
		}
		testbed.Eventually(t, test.name+", as dnssec status says", func() bool {
			code, out, _ := command(t, "dnssec", "status", "--admin", r.admin)
			return code == exitFailure && strings.Contains(out, test.want)
		})
		if rcode, tags := r.keys(t); rcode != dns.RcodeSuccess || len(tags) != 1 || tags[0] != before[0] {
			t.Errorf("%s: %s, keys %v, want %v", test.name, dns.RcodeToString[rcode], tags, before)
		}
		if got := metric(t, r.admin, "mirrorpool_dnssec_key_files_ok"); got != 0 {
			t.Errorf("%s: mirrorpool_dnssec_key_files_ok is %v", test.name, got)
		}
		os.RemoveAll(files[0])
		testbed.Put(t, files[0], string(text))
		if err := os.Chmod(files[0], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.run(t, exitOK, "reload")
	testbed.Eventually(t, "with the file back all is well", func() bool {
		code, _, _ := command(t, "dnssec", "status", "--admin", r.admin)
		return code == exitOK && metric(t, r.admin, "mirrorpool_dnssec_key_files_ok") == 1
	})
}
