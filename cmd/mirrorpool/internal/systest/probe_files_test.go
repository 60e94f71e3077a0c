package systest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mirrorpool/testdata/testbed"
)

// TestProbeNamesMissingFiles: probe of one mirror says which files of the origin it lacks, and probe of all lists none.
func TestProbeNamesMissingFiles(t *testing.T) {
	t.Parallel()
	const address = "127.0.6.10"
	now := time.Now()
	tree, origin := newTree(t, now), newTree(t, now)
	for i := range 4 {
		testbed.Put(t, filepath.Join(origin, "tails/stable", fmt.Sprintf("new-%d.img", i)), []byte("new"))
	}
	web, port := testbed.FreePort(t, address), testbed.FreePort(t, address)
	(&testMirror{address: address, root: tree}).start(t, web)
	daemon := net.JoinHostPort(address, port)
	testbed.Rsync(t, daemon, fmt.Sprintf("log file = /dev/null\n[tails]\npath = %s/tails\n", tree))
	c, _ := newServerConfig(t)
	c.json["dns"] = map[string]any{"listen": "-"}
	c.json["files"] = map[string]any{"origin": filepath.Join(origin, "tails")}
	c.json["mirrors"] = "mirrors.json"
	c.write(t, "mirrorpool.json", c.json)
	c.write(t, "mirrors.json", map[string]any{"version": 1, "mirrors": []any{
		map[string]any{"url_prefix": "http://" + net.JoinHostPort(address, web) + "/tails/", "rsync_url": "rsync://" + daemon + "/tails/", "weight": 10}}})

	path, err := buildProgram()
	if err != nil {
		t.Fatal(err)
	}
	probe := func(args ...string) string {
		cmd := exec.Command(path, append([]string{"probe", "--config", filepath.Join(c.dir, "mirrorpool.json")}, args...)...)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Run(); err != nil {
			t.Errorf("%v: %v\n%s", args, err, out.String())
		}
		return out.String()
	}
	if text := probe(address); !strings.Contains(text, "lacks 4 of 7 files, stable/new-") || !strings.Contains(text, " among them.") {
		t.Errorf("no word of the files in:\n%s", text)
	}
	if text := probe(address, "--json"); !strings.Contains(text, `"lacking": 4`) || !strings.Contains(text, `"published": 7`) {
		t.Errorf("no word of the files in:\n%s", text)
	}
	if text := probe(); strings.Contains(text, "lacks") {
		t.Errorf("a probe of all mirrors has listed one:\n%s", text)
	}
	for i := range 4 {
		if err := os.Remove(filepath.Join(origin, "tails/stable", fmt.Sprintf("new-%d.img", i))); err != nil {
			t.Fatal(err)
		}
	}
	if text := probe(address); !strings.Contains(text, ": has all 3 files.") {
		t.Errorf("no word of the files in:\n%s", text)
	}
}
