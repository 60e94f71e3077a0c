package watch

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"mirrorpool/health"
	"mirrorpool/testdata/testbed"
)

const (
	rssMirrors = 30
	rssLimit   = 2_000_000 // bytes more for a group
	rssRuns    = 3
	rssRole    = "MIRRORPOOL_WATCH_RSS" // "alone", or the addresses of this process and of one to join
)

// TestRSS measures how much more memory a process has that watches 30 mirrors with two others than one that watches
// them alone, after garbage was collected in both.
func TestRSS(t *testing.T) {
	t.Parallel()
	if testbed.Race {
		t.Skip("the race detector has memory of its own")
	}
	if role := os.Getenv(rssRole); role != "" {
		fmt.Printf("rss %d\n", rssOf(t, role))
		return
	}
	port := testbed.FreePort(t, "127.0.24.31", "127.0.24.32", "127.0.24.33")
	first, second, third := "127.0.24.31:"+port, "127.0.24.32:"+port, "127.0.24.33:"+port
	for _, p := range []*peer{startPeer(t, "ams", first, nil, key("one")), startPeer(t, "nyc", second, []string{first}, key("one"))} {
		p.Apply(rssReport())
	}
	var more []int
	for range rssRuns {
		alone, group := rssProcess(t, "alone"), rssProcess(t, third+" "+first)
		more = append(more, group-alone)
	}
	slices.Sort(more)
	t.Logf("%.2f MB more with two others and %d mirrors (of %d runs: %v bytes)", float64(more[rssRuns/2])/1e6, rssMirrors, rssRuns, more)
	if more[rssRuns/2] > rssLimit {
		t.Errorf("%d bytes more, want at most %d", more[rssRuns/2], rssLimit)
	}
}

// serveOnce does what each mirrorpool does with its own status page, so that the code for it is in memory in both.
func serveOnce(t *testing.T, r *health.Report) {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if err := json.NewEncoder(w).Encode(r); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	resp, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got health.Report
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
}

func rssReport() *health.Report {
	r := largeReport(rssMirrors)
	r.At = time.Now()
	return r
}

// rssProcess runs TestRSS in a process with a role, and returns how much memory that has.
func rssProcess(t *testing.T, role string) (bytesUsed int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestRSS$", "-test.count=1")
	cmd.Env = append(os.Environ(), rssRole+"="+role)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", role, err, out)
	}
	at := max(bytes.Index(out, []byte("rss ")), 0)
	if _, err := fmt.Sscanf(string(out[at:]), "rss %d", &bytesUsed); err != nil {
		t.Fatalf("%s: %v\n%s", role, err, out)
	}
	return bytesUsed
}

// rssOf is how much memory this process has in a role.
func rssOf(t *testing.T, role string) (bytesUsed int) {
	t.Helper()
	own, join, ok := strings.Cut(role, " ")
	serveOnce(t, rssReport())
	var g *peer
	if ok {
		g = startPeer(t, "fra", own, []string{join}, key("one"))
		testbed.Eventually(t, "the two others count", func() bool {
			g.Apply(rssReport())
			return g.Status(time.Now()).Joint
		})
	}
	for range 100 {
		if r := rssReport(); g != nil {
			g.Apply(r)
		}
	}
	runtime.GC()
	debug.FreeOSMemory()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	at := max(bytes.Index(status, []byte("VmRSS:")), 0)
	if _, err := fmt.Sscanf(string(status[at:]), "VmRSS: %d", &bytesUsed); err != nil {
		t.Fatal(err)
	}
	runtime.KeepAlive(g)
	return bytesUsed << 10
}
