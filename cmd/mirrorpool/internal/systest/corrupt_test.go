package systest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mirrorpool/dnspool/admin"
	"mirrorpool/health"
	"mirrorpool/testdata/testbed"
)

// A corruptRig is an origin in a folder, and four mirrors of which one has a file with a wrong byte.
type corruptRig struct {
	*program
	config *serverConfig
	origin string
	roots  []string // of the mirrors
	state  string
	image  []byte
	pool   any
}

const corruptImage = "tails/stable/tails-7.0.img"

// newCorruptRig starts them, with nginx as the mirrors' web server. With a verify_agent, that mirror refuses to be read
// for verification.
func newCorruptRig(t *testing.T, keys map[string]any, change ...func(*serverConfig)) *corruptRig {
	t.Helper()
	published := time.Now().Add(-time.Hour)
	r := &corruptRig{origin: newTree(t, published), image: make([]byte, 2<<20)}
	random := rand.New(rand.NewPCG(1, 2))
	for i := range r.image {
		r.image[i] = byte(random.Uint32())
	}
	putFile(t, r.origin, corruptImage, r.image)
	addresses := []string{"127.0.41.1", "127.0.41.2", "127.0.41.3", "127.0.41.4"}
	port := testbed.FreePort(t, addresses...)
	var mirrors []any
	for i, address := range addresses {
		m := testMirror{address: address, root: newTree(t, published)}
		copied := bytes.Clone(r.image)
		if i == 0 {
			copied[1<<20] ^= 1
			m.refuses, _ = keys["verify_agent"].(string)
		}
		putFile(t, m.root, corruptImage, copied)
		m.start(t, port)
		r.roots = append(r.roots, m.root)
		mirrors = append(mirrors, map[string]any{"url_prefix": fmt.Sprintf("http://%s:%s/tails/", address, port), "weight": 10})
	}
	c, where := newServerConfig(t)
	r.config = c
	c.json["dns"] = map[string]any{"listen": "-"}
	c.json["http"].(map[string]any)["sticky"] = "0s"
	r.state = t.TempDir()
	c.json["state_dir"] = r.state
	c.json["files"] = keys
	keys["origin"] = filepath.Join(r.origin, "tails")
	for _, f := range change {
		f(c)
	}
	r.pool = map[string]any{"version": 1, "mirrors": mirrors}
	r.program = c.serve(t, where, r.pool)
	testbed.Eventually(t, "all mirrors serve, and the checksum is known", func() bool {
		resp, err := (&http.Client{CheckRedirect: noRedirect}).Get(r.url())
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.Header.Get("Digest") != "" && len(r.inRedirects(t, "/stable/tails-7.0.img")) == len(addresses)
	})
	return r
}

// url is where clients ask for the image.
func (r *corruptRig) url() string { return "http://" + r.web + "/stable/tails-7.0.img" }

// putFile puts a file into a tree.
func putFile(t testing.TB, root, name string, text []byte) {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestClientsRefuseCorruptFiles has aria2 download by redirects that lead to a mirror with a wrong byte one time in
// four: it refuses the file, or has the good one.
func TestClientsRefuseCorruptFiles(t *testing.T) {
	t.Parallel()
	testbed.Need(t, "nginx", "nginx")
	r := newCorruptRig(t, map[string]any{"verify_rate": "0"})
	const aria2Checksum = 32 // its exit status for a wrong checksum
	refused := 0
	for range 20 {
		dir := t.TempDir()
		cmd := exec.CommandContext(t.Context(), testbed.Need(t, "aria2c", "aria2"), "-q", "--no-conf", r.url())
		cmd.Dir = dir
		err := cmd.Run()
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() == aria2Checksum {
			refused++
		} else if got, _ := os.ReadFile(filepath.Join(dir, "tails-7.0.img")); err != nil || !bytes.Equal(got, r.image) {
			t.Errorf("aria2 has %d bytes that are not the image: %v", len(got), err)
		}
	}
	t.Logf("aria2 refused the file %d times of 20", refused)
}

// TestCorruptMirrorLeaves has mirrorpool find the mirror with a wrong byte. After that no client is sent there for the
// file, GNU Wget2 has the good one each time, and status, evidence and metrics say so; also after a restart.
func TestCorruptMirrorLeaves(t *testing.T) {
	t.Parallel()
	testbed.Need(t, "nginx", "nginx")
	r := newCorruptRig(t, map[string]any{"verify_rate": "5MB"})
	const corrupt = "http://127.0.41.1:"
	testbed.Eventually(t, "the corrupt mirror serves the file no more", func() bool {
		return !hasPrefixed(r.inRedirects(t, "/stable/tails-7.0.img"), corrupt)
	})
	if !hasPrefixed(r.inRedirects(t, "/stable/tails-amd64-6.0/tails-amd64-6.0.img"), corrupt) {
		t.Error("the mirror does not serve its good files any more")
	}
	for range 20 {
		dir := fetchWith(t, "wget2", "wget2", "-q", r.url())
		if got, err := os.ReadFile(filepath.Join(dir, "tails-7.0.img")); !bytes.Equal(got, r.image) {
			t.Fatalf("GNU Wget2 has %d bytes that are not the image: %v", len(got), err)
		}
	}
	status := r.status(t)
	for prefix, m := range status.Verification.Mirrors {
		if want := strings.HasPrefix(prefix, corrupt); (len(m.Corrupt) == 1) != want {
			t.Errorf("%s: %+v", prefix, m)
		} else if want && (m.Corrupt[0].Path != "stable/tails-7.0.img" || m.Corrupt[0].Offset != 1<<20) {
			t.Errorf("%s: %+v", prefix, m.Corrupt[0])
		}
	}
	if names, _ := filepath.Glob(filepath.Join(r.state, "evidence", "*.json")); len(names) != 1 {
		t.Errorf("%d files of evidence, want 1", len(names))
	}
	if page := string(fetch(t, http.DefaultClient, "http://"+r.admin+"/")); !strings.Contains(page, "has 1 corrupt file, which it does not serve") {
		t.Error("the page does not tell of the corrupt file")
	}
	if _, out, _ := command(t, "status", "--admin", r.admin); !strings.Contains(out, "corrupt: stable/tails-7.0.img") {
		t.Errorf("the status does not tell of the corrupt file:\n%s", out)
	}
}

// TestClientsGetVerifiedCopies has a mirror with a wrong byte keep from being read, which proves nothing. Once the
// others' copies are verified, no client is sent there: GNU Wget2 and curl, which check nothing, have the good file.
func TestClientsGetVerifiedCopies(t *testing.T) {
	t.Parallel()
	testbed.Need(t, "nginx", "nginx")
	r := newCorruptRig(t, map[string]any{"verify_rate": "5MB", "verify_agent": "Wget/1.21.99"})
	const corrupt = "http://127.0.41.1:"
	testbed.Eventually(t, "clients are sent to verified copies", func() bool {
		return !hasPrefixed(r.inRedirects(t, "/stable/tails-7.0.img"), corrupt)
	})
	for range 20 {
		for _, command := range [][]string{
			{"wget2", "-q", r.url()}, {"wget2", "-q", r.url() + ".meta4"}, {"wget2", "-q", "-O", "tails-7.0.img", r.url()}, {"curl", "-sfLO", r.url()},
		} {
			dir := fetchWith(t, command[0], command[0], command[1:]...)
			if got, err := os.ReadFile(filepath.Join(dir, "tails-7.0.img")); !bytes.Equal(got, r.image) {
				t.Fatalf("%s has %d bytes that are not the image: %v", command, len(got), err)
			}
		}
	}
	if !hasPrefixed(r.inRedirects(t, "/stable/tails-amd64-6.0/tails-amd64-6.0.img"), corrupt) {
		t.Error("the mirror does not serve files without a checksum any more")
	}
	for _, m := range r.status(t).Mirrors {
		if m.State != health.Up {
			t.Errorf("%s is %s: %s", m.URLPrefix, m.State, m.Reason)
		}
	}
	_, out, stderr := command(t, "explain", "--client", "192.0.2.1", "/stable/tails-7.0.img", "--admin", r.admin)
	if !strings.Contains(out, "not verified yet") {
		t.Errorf("explain does not tell why:\n%s%s", out, stderr)
	}
}

func hasPrefixed(set map[string]bool, prefix string) bool {
	for s := range set {
		if strings.HasPrefix(s, prefix) {
			return true
		}
	}
	return false
}

// TestCorruptRelease has a mirror get a wrong byte in a file of a new release: it is down in all roles, in the ledger
// and the metrics, also after a restart, until it is mended and pardoned.
func TestCorruptRelease(t *testing.T) {
	t.Parallel()
	testbed.Need(t, "nginx", "nginx")
	r := newCorruptRig(t, map[string]any{"verify_rate": "5MB", "interval": "1s"})
	const release, corrupt = "tails/stable/tails-7.1.img", "http://127.0.41.2:"
	image := bytes.Clone(r.image)
	image[0] ^= 1
	for i, root := range r.roots {
		copied := bytes.Clone(image)
		if i == 1 {
			copied[len(copied)-1] ^= 1
		}
		putFile(t, root, release, copied)
	}
	putFile(t, r.origin, release, image)
	mirror := func() admin.MirrorStatus {
		for _, m := range r.status(t).Mirrors {
			if strings.HasPrefix(m.URLPrefix, corrupt) {
				return m
			}
		}
		t.Fatal("the mirror is gone")
		return admin.MirrorStatus{}
	}
	isDown := func() bool {
		m := mirror()
		return m.State == health.Down && strings.Contains(m.Reason, "content: sha-256 of stable/tails-7.1.img is ")
	}
	testbed.Eventually(t, "the mirror is down", isDown)
	testbed.Eventually(t, "it serves no other files", func() bool {
		return !hasPrefixed(r.inRedirects(t, "/stable/tails-amd64-6.0/tails-amd64-6.0.img"), corrupt)
	})
	metrics := string(fetch(t, http.DefaultClient, "http://"+r.admin+"/metrics"))
	if !strings.Contains(metrics, `mirrorpool_mirror_files_corrupt{mirror="`+mirror().URLPrefix+`"} 1`) ||
		strings.Contains(metrics, `mirrorpool_verification_reads_total{result="corrupt"} 0`) {
		t.Error("the metrics do not tell of the corrupt file")
	}
	if _, out, _ := command(t, "ledger", "--admin", r.admin); !strings.Contains(out, "content: sha-256 of stable/tails-7.1.img") {
		t.Errorf("the ledger does not tell of it:\n%s", out)
	}

	r.stop(t)
	r.program = r.config.start(t, r.program)
	r.waitReady(t)
	if !isDown() {
		t.Errorf("after a restart: %+v", mirror())
	}
	putFile(t, r.roots[1], release, image)
	if code, _, stderr := command(t, "pardon", mirror().URLPrefix, "--for", "1m", "--reason", "mended", "--admin", r.admin); code != exitOK {
		t.Fatalf("pardon: %d %s", code, stderr)
	}
	testbed.Eventually(t, "the mirror is up again, and verified", func() bool {
		return mirror().State == health.Up && r.status(t).Verification.Mirrors[mirror().URLPrefix].Verified == 2
	})
}
