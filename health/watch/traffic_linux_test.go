package watch

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"mirrorpool/testdata/testbed"
)

// TestTraffic has BenchmarkTraffic run for ten seconds in a network namespace of its own, and holds what it measures.
func TestTraffic(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes ten seconds")
	}
	unshare := testbed.Need(t, "unshare", "util-linux")
	testbed.Need(t, "ip", "iproute2")
	if os.Geteuid() != 0 {
		testbed.Lack(t, "only root has network namespaces")
	}
	cmd := exec.CommandContext(t.Context(), unshare, "--net", "sh", "-c", "ip link set lo up && exec "+os.Args[0]+
		" -test.run='^$' -test.bench=Traffic -test.benchtime=10x")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var rate float64 // kB/s
	if _, err := fmt.Sscanf(string(out[max(bytes.Index(out, []byte("ns/op")), 0):]), "ns/op %g kB/s", &rate); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%.1f kB/s from each watcher", rate)
	if rate > 100 || rate < 0.1 {
		t.Errorf("%.1f kB/s, want at most 100, and something", rate)
	}
}
