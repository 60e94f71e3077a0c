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

	"mirrorpool/testdata/testbed"
)

// A corruptRig is an origin in a folder, and four mirrors of which one has a file with a wrong byte.
type corruptRig struct {
	*program
	origin string
	state  string
	image  []byte
}

const corruptImage = "tails/stable/tails-7.0.img"

// newCorruptRig starts them, with nginx as the mirrors' web server.
func newCorruptRig(t *testing.T, keys map[string]any) *corruptRig {
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
		}
		putFile(t, m.root, corruptImage, copied)
		m.start(t, port)
		mirrors = append(mirrors, map[string]any{"url_prefix": fmt.Sprintf("http://%s:%s/tails/", address, port), "weight": 10})
	}
	c, where := newServerConfig(t)
	c.json["dns"] = map[string]any{"listen": "-"}
	c.json["http"].(map[string]any)["sticky"] = "0s"
	r.state = t.TempDir()
	c.json["state_dir"] = r.state
	c.json["files"] = keys
	keys["origin"] = filepath.Join(r.origin, "tails")
	r.program = c.serve(t, where, map[string]any{"version": 1, "mirrors": mirrors})
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
}

func hasPrefixed(set map[string]bool, prefix string) bool {
	for s := range set {
		if strings.HasPrefix(s, prefix) {
			return true
		}
	}
	return false
}
