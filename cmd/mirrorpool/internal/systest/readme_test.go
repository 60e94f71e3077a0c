package systest

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mirrorpool/health"
	"mirrorpool/testdata/testbed"
)

// TestReadmeHTTPS does what README.md says under "https in one minute", as it is written there but for the authority,
// the ports, the mirrors, and the program, which is built already.
func TestReadmeHTTPS(t *testing.T) {
	t.Parallel()
	bash, curl := testbed.Need(t, "bash", "bash"), testbed.Need(t, "curl", "curl")
	program, err := buildProgram()
	if err != nil {
		t.Fatal(err)
	}
	blocks := readmeBlocks(t, "## https in one minute")
	if len(blocks) != 2 {
		t.Fatalf("%d blocks of commands, want 2", len(blocks))
	}
	authority := testbed.NewAuthority(t)
	published := time.Now().Unix()
	mirror := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/pub/project/trace" {
			fmt.Fprintln(w, published)
		}
	}))
	mirror.TLS = &tls.Config{Certificates: []tls.Certificate{
		authority.Issue(t, "mirror1.example.net", time.Now().Add(24*time.Hour), netip.MustParseAddr("127.0.0.1"))}}
	mirror.StartTLS()
	t.Cleanup(mirror.Close)
	httpPort, httpsPort, admin := testbed.FreePort(t), testbed.FreePort(t), "127.0.0.1:"+testbed.FreePort(t)
	pebble, _ := testbed.StartPebble(t, testbed.PebbleOptions{
		Resolver: testbed.StartNames(t, map[string]string{"download.example.org": "127.0.0.1"}, nil), HTTPPort: httpPort, TLSPort: httpsPort,
	})
	script := blocks[0]
	for from, to := range map[string]string{
		"go build -o mirrorpool ./cmd/mirrorpool": "cp " + program + " mirrorpool",
		"https://mirror1.example.net":             mirror.URL,
		"0.0.0.0:80":                              "127.0.0.1:" + httpPort,
		"0.0.0.0:443":                             "127.0.0.1:" + httpsPort,
		`"agree": true`:                           fmt.Sprintf(`"agree": true, "directory": %q, "ca_root": %q`, pebble.Directory, pebble.CARoot),
		`"dns": {"listen": "-"}`:                  fmt.Sprintf(`"dns": {"listen": "-"}, "admin": {"listen": %q}`, admin),
		"./mirrorpool serve":                      "exec ./mirrorpool serve",
	} {
		if !strings.Contains(script, from) {
			t.Fatalf("the commands lack %q", from)
		}
		script = strings.Replace(script, from, to, 1)
	}
	began := time.Now()
	cmd := exec.Command(bash, "-euo", "pipefail", "-c", script)
	cmd.Dir, cmd.Env = t.TempDir(), append(os.Environ(), "SSL_CERT_FILE="+authority.File(t))
	p := runProgram(t, cmd)
	url := strings.TrimSpace(blocks[1])
	url = url[strings.LastIndexByte(url, ' ')+1:]
	roots := pebble.RootsFile(t)
	testbed.EventuallyNil(t, func() error {
		out, err := exec.Command(curl, "-sI", url, "--cacert", roots, "--connect-to",
			"download.example.org:443:"+net.JoinHostPort("127.0.0.1", httpsPort)).CombinedOutput()
		if err == nil && !(strings.HasPrefix(string(out), "HTTP/2 302 ") && strings.Contains(string(out), "location: "+mirror.URL+"/pub/file.iso")) {
			err = fmt.Errorf("curl -sI %s: %s", url, out)
		}
		return err
	})
	p.admin = admin
	if m := p.status(t).Mirrors[0]; m.State != health.Up {
		t.Errorf("the mirror is %s: %s", m.State, m.Reason)
	}
	t.Logf("https after %v", time.Since(began).Round(time.Millisecond))
	p.stop(t)
}

// readmeBlocks returns the blocks of shell commands below a heading of README.md.
func readmeBlocks(t *testing.T, heading string) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), heading+"\n")
	if !ok {
		t.Fatalf("README.md has no %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	for {
		_, rest, ok := strings.Cut(section, "```sh\n")
		if !ok {
			return blocks
		}
		block, after, _ := strings.Cut(rest, "```\n")
		blocks, section = append(blocks, block), after
	}
}
