package systest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/dnspool/admin"
	"mirrorpool/testdata/testbed"
)

// A program is a running mirrorpool, built from this tree.
type program struct {
	cmd             *exec.Cmd
	log             *testbed.Log
	exited          chan error
	dns, web, admin string // where it listens
}

// builtIn is the folder of what the tests have built, or empty.
var builtIn string

// TestMain removes what the tests have built.
func TestMain(m *testing.M) {
	code := m.Run()
	if builtIn != "" {
		os.RemoveAll(builtIn)
	}
	os.Exit(code)
}

// buildProgram builds the program, once, and returns its path.
var buildProgram = sync.OnceValues(func() (string, error) { return build("mirrorpool") })

// buildChecked builds it with the race detector.
var buildChecked = sync.OnceValues(func() (string, error) { return build("mirrorpool-race", "-race") })

// buildFolder is where the programs are built.
var buildFolder = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "mirrorpool-test-")
	if err == nil {
		err = os.Chmod(dir, 0o755) // other users run it too
	}
	builtIn = dir
	return dir, err
})

func build(name string, flags ...string) (string, error) {
	dir, err := buildFolder()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, name)
	args := append(append([]string{"build"}, flags...), "-o", path, "mirrorpool/cmd/mirrorpool")
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
}

// Exit codes of the program.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

// command runs mirrorpool until it ends, with the race detector if the test has it.
func command(t testing.TB, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	builder := buildProgram
	if testbed.Race {
		builder = buildChecked
	}
	path, err := builder()
	if err != nil {
		t.Fatal(err)
	}
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errOut.String()
}

// startProgram runs mirrorpool with the given arguments and environment.
func startProgram(t testing.TB, env []string, args ...string) *program {
	t.Helper()
	path, err := buildProgram()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), env...)
	return runProgram(t, cmd)
}

// runProgram runs a command that is mirrorpool.
func runProgram(t testing.TB, cmd *exec.Cmd) *program {
	t.Helper()
	p := &program{cmd: cmd, log: &testbed.Log{}, exited: make(chan error, 1)}
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.exited <- p.cmd.Wait() }()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		if t.Failed() {
			t.Logf("the program's output:\n%s", p.log)
		}
	})
	return p
}

// stop asks the program to end, and waits for it to do so cleanly.
func (p *program) stop(t testing.TB) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-p.exited:
		if err != nil {
			t.Errorf("after SIGTERM: %v", err)
		}
	case <-time.After(15 * time.Second):
		t.Error("SIGTERM does not end the program")
	}
}

// serverConfig is a mirrorpool.json for tests. Durations are short, ports are free ones.
type serverConfig struct {
	dir  string
	json map[string]any
}

func newServerConfig(t testing.TB) (*serverConfig, *program) {
	t.Helper()
	where := &program{}
	for _, addr := range []*string{&where.dns, &where.web, &where.admin} {
		*addr = "127.0.0.1:" + testbed.FreePort(t, "127.0.0.1")
	}
	return &serverConfig{dir: t.TempDir(), json: map[string]any{
		"dns": map[string]any{
			"listen": []string{where.dns}, "zone": "dl.example.org",
			"nameservers": []string{"ns1.example.org", "ns2.example.org"},
		},
		"http":   map[string]any{"listen": []string{where.web}, "sticky": "0s"},
		"admin":  map[string]any{"listen": where.admin},
		"health": map[string]any{"interval": "200ms", "timeout": "1s"},
	}}, where
}

// set changes a key of a section.
func (c *serverConfig) set(section, key string, value any) {
	c.json[section].(map[string]any)[key] = value
}

// write writes a value as JSON, or a string as it is, to a file beside the configuration. As an editor would,
// it puts the new file in place of the old one at once.
func (c *serverConfig) write(t testing.TB, name string, value any) {
	t.Helper()
	text, ok := value.(string)
	if !ok {
		data, err := json.MarshalIndent(value, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		text = string(data)
	}
	path := filepath.Join(c.dir, name)
	if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// serve writes the configuration and the pool, and runs the program on them until it is ready.
func (c *serverConfig) serve(t testing.TB, where *program, pool any, env ...string) *program {
	t.Helper()
	c.write(t, "mirrors.json", pool)
	c.write(t, "mirrorpool.json", c.json)
	p := c.start(t, where, env...)
	p.waitReady(t)
	return p
}

// start runs the program on the files that are there.
func (c *serverConfig) start(t testing.TB, where *program, env ...string) *program {
	t.Helper()
	p := startProgram(t, env, "serve", "--config", filepath.Join(c.dir, "mirrorpool.json"))
	p.dns, p.web, p.admin = where.dns, where.web, where.admin
	return p
}

// waitReady waits until the program answers.
func (p *program) waitReady(t testing.TB) {
	t.Helper()
	testbed.Eventually(t, "the server is ready", func() bool {
		resp, err := http.Get("http://" + p.admin + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// status asks for the server's status.
func (p *program) status(t testing.TB) admin.Status {
	t.Helper()
	var status admin.Status
	text := fetch(t, http.DefaultClient, "http://"+p.admin+"/api/v1/status")
	if err := json.Unmarshal(text, &status); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return status
}

// fetch returns what is at a URL.
func fetch(t testing.TB, client *http.Client, url string) []byte {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// ask asks for addresses and returns them in the order of the answer.
func (p *program) ask(t testing.TB, name string, qtype uint16) []string {
	t.Helper()
	req := new(dns.Msg)
	req.SetQuestion(name, qtype)
	resp, err := dns.Exchange(req, p.dns)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Rcode != dns.RcodeSuccess {
		t.Fatalf("%s %s: %s", name, dns.TypeToString[qtype], dns.RcodeToString[resp.Rcode])
	}
	var addrs []string
	for _, rr := range resp.Answer {
		switch rr := rr.(type) {
		case *dns.A:
			addrs = append(addrs, rr.A.String())
		case *dns.AAAA:
			addrs = append(addrs, rr.AAAA.String())
		}
	}
	return addrs
}

// inDNS asks often enough for every mirror of a small pool to appear, and returns the addresses.
func (p *program) inDNS(t testing.TB) map[string]bool {
	t.Helper()
	seen := map[string]bool{}
	for range 60 {
		for _, addr := range p.ask(t, "dl.example.org.", dns.TypeA) {
			seen[addr] = true
		}
	}
	return seen
}

// inRedirects does the same for redirects, and returns what stands before path in the locations.
func (p *program) inRedirects(t testing.TB, path string) map[string]bool {
	t.Helper()
	client := http.Client{CheckRedirect: noRedirect}
	seen := map[string]bool{}
	for range 60 {
		resp, err := client.Get("http://" + p.web + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		location := resp.Header.Get("Location")
		prefix, ok := bytes.CutSuffix([]byte(location), []byte(path))
		if resp.StatusCode != http.StatusFound || !ok {
			t.Fatalf("%s: %d to %q", path, resp.StatusCode, location)
		}
		seen[string(prefix)] = true
	}
	return seen
}
