package testbed

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Nginx runs nginx, with what stands in the http block of its configuration, until the test ends, or stop is called.
func Nginx(t testing.TB, http string) (stop func()) {
	t.Helper()
	program := Need(t, "nginx", "nginx")
	dir := t.TempDir()
	user, temporary := "", ""
	if os.Geteuid() == 0 {
		user = "user root;\n" // trees are in temporary folders that only their owner may enter
	}
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		temporary += fmt.Sprintf("%s_temp_path %s/%s;\n", kind, dir, kind)
	}
	conf := filepath.Join(dir, "nginx.conf")
	Put(t, conf, fmt.Sprintf("%sdaemon off;\nmaster_process off;\npid %s/pid;\nerror_log stderr;\nevents {}\n"+
		"http {\naccess_log off;\n%s%s}\n",
		user, dir, temporary, http))
	return Start(t, exec.Command(program, "-p", dir, "-e", "stderr", "-c", conf))
}
