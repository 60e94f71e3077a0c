package systest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mirrorpool/testdata/testbed"
)

// A clientRig is a pool of two mirrors that carry the same files, for download clients.
type clientRig struct {
	*program
	root  string
	fulls atomic.Int64 // downloads of a whole file that ends in .iso
}

// newClientRig starts the pool. The mirrors have an image, another one with a Metalink of its own, and a flat
// repository for apt.
func newClientRig(t *testing.T) *clientRig {
	t.Helper()
	r := &clientRig{root: t.TempDir()}
	image := make([]byte, 3<<20)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range image {
		image[i] = byte(random.Uint32())
	}
	for name, text := range map[string]string{
		"project/trace": fmt.Sprintln(time.Now().Add(-time.Hour).Unix()), "stable/x.iso": string(image), "stable/y.iso": "short\n",
		"stable/y.iso.meta4": "a Metalink of the project's own\n",
		"flat/Packages":      "Package: a\nVersion: 1\nArchitecture: all\nFilename: ./a.deb\nSize: 1\n",
	} {
		path := filepath.Join(r.root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	addresses := []string{"127.0.31.1", "127.0.31.2"}
	port := testbed.FreePort(t, addresses...)
	files := http.FileServer(http.Dir(r.root))
	var mirrors []any
	for _, addr := range addresses {
		server := &http.Server{Addr: addr + ":" + port, Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if req.Method == http.MethodGet && strings.HasSuffix(req.URL.Path, ".iso") && req.Header.Get("Range") == "" {
				r.fulls.Add(1)
			}
			files.ServeHTTP(w, req)
		})}
		go server.ListenAndServe()
		t.Cleanup(func() { server.Close() })
		mirrors = append(mirrors, map[string]any{"url_prefix": "http://" + server.Addr + "/", "weight": 10})
	}
	c, where := newServerConfig(t)
	c.json["dns"] = map[string]any{"listen": "-"}
	r.program = c.serve(t, where, map[string]any{"version": 1, "mirrors": mirrors})
	testbed.Eventually(t, "both mirrors are up", func() bool { return len(r.inRedirects(t, "/stable/x.iso")) == 2 })
	return r
}

// wantImage wants a download of the image.
func (r *clientRig) wantImage(t *testing.T, path string) {
	t.Helper()
	got, err := os.ReadFile(path)
	want, _ := os.ReadFile(filepath.Join(r.root, "stable/x.iso"))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s: %d bytes, %v, want the %d of the image", path, len(got), err, len(want))
	}
}

// fetchWith runs a client in a folder of its own, and returns the folder.
func fetchWith(t *testing.T, name, debianPackage string, args ...string) (dir string) {
	t.Helper()
	program := testbed.Need(t, name, debianPackage)
	dir = t.TempDir()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return dir
}

// TestDownloadClients has clients that know of mirrors download by redirect and by Metalink.
func TestDownloadClients(t *testing.T) {
	t.Parallel()
	r := newClientRig(t)
	site := "http://" + r.web
	t.Run("GNU Wget2 downloads once", func(t *testing.T) {
		r.fulls.Store(0)
		dir := fetchWith(t, "wget2", "wget2", "-q", site+"/stable/x.iso")
		r.wantImage(t, filepath.Join(dir, "x.iso"))
		if n := r.fulls.Load(); n != 1 {
			t.Errorf("the image is downloaded %d times, want once", n)
		}
	})
	t.Run("GNU Wget2 by Metalink", func(t *testing.T) {
		dir := fetchWith(t, "wget2", "wget2", "-q", site+"/stable/x.iso.meta4")
		r.wantImage(t, filepath.Join(dir, "x.iso"))
	})
	t.Run("aria2", func(t *testing.T) {
		dir := fetchWith(t, "aria2c", "aria2", "-q", site+"/stable/x.iso")
		r.wantImage(t, filepath.Join(dir, "x.iso"))
	})
	t.Run("aria2 by Metalink", func(t *testing.T) {
		for _, suffix := range []string{".meta4", ".metalink"} {
			dir := fetchWith(t, "aria2c", "aria2", "-q", "--follow-metalink=mem", site+"/stable/x.iso"+suffix)
			r.wantImage(t, filepath.Join(dir, "x.iso"))
		}
	})
	t.Run("a Metalink that the mirrors have", func(t *testing.T) {
		if got := fetch(t, http.DefaultClient, site+"/stable/y.iso.meta4"); string(got) != "a Metalink of the project's own\n" {
			t.Errorf("%q", got)
		}
		if got := fetch(t, http.DefaultClient, site+"/stable/y.iso.metalink"); !strings.Contains(string(got), "<size>6</size>") {
			t.Errorf("one that they do not have: %s", got)
		}
	})
}

// TestApt has apt read a flat repository, by redirects and from a list of mirrors.
func TestApt(t *testing.T) {
	t.Parallel()
	r := newClientRig(t)
	for _, source := range []string{"http://" + r.web + "/flat ./", "http://" + r.web + "//flat/ ./", "mirror+http://" + r.web +
		"/flat/?mirrorlist ./"} {
		root := t.TempDir()
		for _, dir := range []string{"etc/apt/apt.conf.d", "etc/apt/preferences.d", "etc/apt/sources.list.d",
			"var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "var/lib/dpkg"} {
			if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		for name, text := range map[string]string{"etc/apt/sources.list": "deb [trusted=yes] " + source + "\n",
			"var/lib/dpkg/status": ""} {
			if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		fetchWith(t, "apt-get", "apt", "-o", "Dir="+root, "-o", "APT::Sandbox::User=", "-o", "Acquire::Languages=none", "update")
		if lists, _ := filepath.Glob(filepath.Join(root, "var/lib/apt/lists/*_Packages*")); len(lists) != 1 {
			t.Errorf("%s: apt has %d lists of packages, want 1", source, len(lists))
		}
	}
}

// TestLongPathsBehindNginx sends long paths through nginx with its default buffers: it answers 502 where a response's
// headers have more than 4 KiB.
func TestLongPathsBehindNginx(t *testing.T) {
	t.Parallel()
	testbed.Need(t, "nginx", "nginx")
	r := newClientRig(t)
	port := testbed.FreePort(t, "127.0.0.1")
	testbed.Nginx(t, fmt.Sprintf("server { listen 127.0.0.1:%s; location / { proxy_pass http://%s; proxy_buffer_size 4k; "+
		"proxy_set_header Host dl.example.org; } }\n", port, r.web))
	client := http.Client{CheckRedirect: noRedirect}
	testbed.Eventually(t, "nginx answers", func() bool {
		resp, err := client.Get("http://127.0.0.1:" + port + "/x")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusFound
	})
	for _, length := range []int{500, 1000, 1200, 1700, 3400} {
		resp, err := client.Get("http://127.0.0.1:" + port + "/" + strings.Repeat("a", length))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusFound {
			t.Errorf("a path of %d bytes: %s", length, resp.Status)
		}
	}
}
