//go:build linux

package systest

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/miekg/dns"

	"mirrorpool/testdata/testbed"
)

// TestImage builds what the Dockerfile builds, without Docker, and runs it as the Dockerfile's user in a folder that
// has nothing else: no library, no shell, no /proc, no time zones. Only state_dir can be written to, and only there it
// writes.
func TestImage(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		testbed.Lack(t, "this is not root: only root may change the root folder")
	}
	dockerfile, err := os.ReadFile(testbed.Root(t, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	_, image, found := strings.Cut(string(dockerfile), "\nFROM scratch\n")
	user := regexp.MustCompile(`(?m)^USER (\d+):(\d+)$`).FindStringSubmatch(image)
	copies := regexp.MustCompile(`(?m)^COPY --from=build (\S+) (\S+)$`).FindAllStringSubmatch(image, -1)
	if !found || user == nil || len(copies) != 2 || strings.Count(image, "COPY")+strings.Count(image, "ADD") != 2 {
		t.Fatalf("the image has something else than two copies and a user by number:\n%s", image)
	}
	uid, gid := number(t, user[1]), number(t, user[2])
	if uid == 0 || gid == 0 {
		t.Errorf("the image runs as %d:%d", uid, gid)
	}

	root := t.TempDir()
	flags := regexp.MustCompile(`(?m)^RUN CGO_ENABLED=0 go build (.*) -o /mirrorpool (\S+)$`).FindSubmatch(dockerfile)
	if flags == nil {
		t.Fatal("the Dockerfile does not say how to build the program")
	}
	build := exec.Command("sh", "-c", "exec go build "+string(flags[1])+` -o "$1" `+string(flags[2]), "sh",
		filepath.Join(root, "mirrorpool"))
	build.Dir = testbed.Root(t)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	authorities, err := os.ReadFile("/etc/ssl/certs/ca-certificates.crt")
	if err != nil {
		t.Fatal(err)
	}
	c, where := newServerConfig(t)
	c.dir = filepath.Join(root, "etc/mirrorpool")
	c.set("health", "enabled", false)
	c.json["state_dir"] = "/state"
	for _, dir := range []string{filepath.Join(root, "etc/ssl/certs"), c.dir, filepath.Join(root, "state")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "etc/ssl/certs/ca-certificates.crt"), authorities, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(filepath.Join(root, "state"), uid, gid); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	c.write(t, "mirrors.json", `{"version": 1, "mirrors": [{"url_prefix": "http://192.0.2.1/tails/", "weight": 1}]}`)
	c.write(t, "mirrorpool.json", c.json)
	before := filesBelow(t, root)

	cmd := exec.Command("/mirrorpool", "serve", "--config", "/etc/mirrorpool/mirrorpool.json")
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	cmd.Dir, cmd.Env = "/", []string{}
	p := runProgram(t, cmd)
	p.dns, p.web, p.admin = where.dns, where.web, where.admin
	p.waitReady(t)
	status, err := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "CapAmb:\t0000000000000000",
		"Uid:\t" + user[1]} {
		if !bytes.Contains(status, []byte(want)) {
			t.Errorf("the process does not have %q:\n%s", want, status)
		}
	}
	if got := p.ask(t, "dl.example.org.", dns.TypeA); len(got) != 1 {
		t.Errorf("answers %v", got)
	}
	p.inRedirects(t, "/x")
	if out, err := exec.Command(mustBuild(t), "reload", "--admin", p.admin).CombinedOutput(); err != nil {
		t.Errorf("reload: %v\n%s", err, out)
	}
	p.stop(t)
	if strings.Contains(p.log.String(), `"level":"error"`) || strings.Contains(p.log.String(), "permission denied") ||
		strings.Contains(p.log.String(), "read-only") {
		t.Errorf("something does not work:\n%s", p.log)
	}
	written := 0
	for name := range filesBelow(t, root) {
		switch {
		case before[name]:
		case strings.HasPrefix(name, "state/"):
			written++
		default:
			t.Errorf("it has written %s", name)
		}
	}
	if written == 0 {
		t.Error("it has kept nothing in state_dir")
	}
}

func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func mustBuild(t *testing.T) string {
	t.Helper()
	path, err := buildProgram()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// filesBelow returns the names of all files below a folder.
func filesBelow(t *testing.T, root string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names[path] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
