package systest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestCheckAs checks as the user that will run the server, who cannot read what root can.
func TestCheckAs(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can run programs as another user")
	}
	program, err := buildProgram()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for path := dir; path != os.TempDir(); path = filepath.Dir(path) {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	token := write("token", "0123456789abcdef\n")
	write("mirrors.json", `{"version": 1, "mirrors": [{"url_prefix": "https://m1.example.org/", "weight": 1}]}`)
	file := write("mirrorpool.json", `{"mirrors": "mirrors.json", "dns": {"listen": "-"}, "admin": {"token_file": "token"}}`)
	check := func(args ...string) string {
		out, _ := exec.Command(program, append([]string{"check"}, args...)...).CombinedOutput()
		return string(out)
	}
	if err := os.Chmod(token, 0o600); err != nil {
		t.Fatal(err)
	}
	if out := check(file); !strings.Contains(out, "valid mirrorpool.json") || !strings.Contains(out, "[as-root]") {
		t.Errorf("root may read the token, and is warned that others may not:\n%s", out)
	}
	for _, args := range [][]string{{"--as", "nobody", file}, {file, "--as=nobody"}} {
		if out := check(args...); !strings.Contains(out, "/admin/token_file: ") || !strings.Contains(out, "permission denied") {
			t.Errorf("%v: another user cannot read the token of root:\n%s", args, out)
		}
	}
	if err := os.Chown(token, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if out := check("--as", "nobody", file); !strings.Contains(out, "valid mirrorpool.json") || strings.Contains(out, "[as-root]") {
		t.Errorf("its owner may read the token:\n%s", out)
	}

	certificates := filepath.Join(dir, "state", "certificates", "certificates")
	if err := os.MkdirAll(certificates, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{filepath.Join(dir, "state"), filepath.Join(dir, "state", "certificates")} {
		if err := os.Chown(folder, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	file = write("acme.json", `{"mirrors": "mirrors.json", "state_dir": "state", "dns": {"listen": "-"},
		"http": {"tls": {"listen": ["127.0.0.1:8443"], "acme": {"names": ["a.example.org"], "agree": true}}}}`)
	if out := check("--as", "nobody", file); !strings.Contains(out, "/state_dir: ") || !strings.Contains(out, certificates+": this user cannot") {
		t.Errorf("that user cannot save certificates:\n%s", out)
	}
}
