package systest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mirrorpool/testdata/testbed"
)

// TestAdminOverUnixSocket runs a server whose administrator's listener is a Unix socket, and asks it with each command.
func TestAdminOverUnixSocket(t *testing.T) {
	t.Parallel()
	c, where := newServerConfig(t)
	dir, err := os.MkdirTemp("", "mirrorpool-") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	where.admin = "unix:" + filepath.Join(dir, "admin.sock")
	c.set("admin", "listen", where.admin)
	c.set("health", "enabled", false)
	c.write(t, "mirrors.json", mirrorsText(t, "1 10", "2 20"))
	c.write(t, "mirrorpool.json", c.json)
	p := c.start(t, where)
	testbed.Eventually(t, "the server answers over its socket", func() bool {
		code, _, _ := command(t, "status", "--admin", p.admin)
		return code == exitOK
	})
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"status":  {[]string{"status"}, "2 enabled mirrors eligible"},
		"explain": {[]string{"explain", "--client", "192.0.2.1", "/x"}, "https://m2.example.org/"},
		"reload":  {[]string{"reload"}, "othing"},
	} {
		code, stdout, stderr := command(t, append(test.args, "--admin", p.admin)...)
		if code != exitOK || !strings.Contains(stdout, test.want) {
			t.Errorf("%s: exit code %d, %q, %s", name, code, stdout, stderr)
		}
	}
	p.stop(t)
	if _, err := os.Lstat(filepath.Join(dir, "admin.sock")); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
}
