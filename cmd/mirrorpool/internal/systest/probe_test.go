package systest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mirrorpool/cmd/mirrorpool/internal/probing"
	"mirrorpool/testdata/testbed"
)

// A faultDocument is what probe --json and /api/v1/status have in common.
type faultDocument struct {
	Mirrors []struct {
		URLPrefix string `json:"url_prefix"`
		Problem   string `json:"problem"` // of probe
		Reason    string `json:"reason"`  // of the status
		Endpoints []struct {
			Role, State, Reason string
		} `json:"endpoints"`
	} `json:"mirrors"`
}

// differences compares a document with what is expected of the named mirrors.
func (r *faultRig) differences(document *faultDocument, names ...string) string {
	got := map[string][]string{}
	for _, m := range document.Mirrors {
		lines := []string{}
		for _, e := range m.Endpoints {
			lines = append(lines, e.Role+" "+e.State+" "+e.Reason)
		}
		if len(lines) == 0 {
			lines = append(lines, m.Problem+m.Reason)
		}
		got[m.URLPrefix] = lines
	}
	want := map[string][]string{}
	for _, name := range names {
		prefix := r.prefix[name]
		for i, line := range faults[name] {
			if i < len(got[prefix]) && isLike(got[prefix][i], line) {
				line = got[prefix][i]
			}
			want[prefix] = append(want[prefix], line)
		}
	}
	return cmp.Diff(want, got)
}

// isLike reports whether text is pattern, in which "…" stands for anything.
func isLike(text, pattern string) bool {
	parts := strings.Split(pattern, "…")
	rest, ok := strings.CutPrefix(text, parts[0])
	for _, part := range parts[1:] {
		if part == "" {
			continue
		}
		var found bool
		_, rest, found = strings.Cut(rest, part)
		ok = ok && found
	}
	return ok && (rest == "" || strings.HasSuffix(pattern, "…"))
}

// run runs mirrorpool probe on the rig's pool.
func (r *faultRig) run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	path, err := buildProgram()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, append([]string{"probe"}, args...)...)
	cmd.Env = append(os.Environ(), r.env)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errOut.String()
}

// TestProbeTellsTheTruth has one mirror of each kind of failure. mirrorpool probe and the status of a server have to
// say the same of each, and what is the case.
func TestProbeTellsTheTruth(t *testing.T) {
	t.Parallel()
	r := newFaultRig(t)
	pool := r.pool()
	p := r.config.serve(t, r.where, pool, r.env)
	file := filepath.Join(r.config.dir, "mirrorpool.json")
	names := slices.Sorted(maps.Keys(faults))

	t.Run("json", func(t *testing.T) { r.testJSON(t, file, names) })
	t.Run("text", func(t *testing.T) { r.testText(t, file) })
	t.Run("selection", func(t *testing.T) { r.testSelection(t, file) })
	t.Run("shared", func(t *testing.T) { r.testShared(t) })
	t.Run("one", func(t *testing.T) { r.testOne(t) })
	t.Run("status", func(t *testing.T) {
		var diff string
		defer func() {
			if t.Failed() {
				t.Logf("status (-want +got):\n%s", diff)
			}
		}()
		testbed.Eventually(t, "the status tells the truth", func() bool {
			resp, err := http.Get("http://" + p.admin + "/api/v1/status")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var document faultDocument
			if err := json.NewDecoder(resp.Body).Decode(&document); err != nil {
				t.Fatal(err)
			}
			diff = r.differences(&document, names...)
			return diff == ""
		})
	})
	p.stop(t)
}

func (r *faultRig) testJSON(t *testing.T, file string, names []string) {
	code, stdout, stderr := r.run(t, "--config", file, "--json")
	var document faultDocument
	var result probing.Result
	if err := errors.Join(json.Unmarshal([]byte(stdout), &document), json.Unmarshal([]byte(stdout), &result)); err != nil {
		t.Fatalf("%v in %s", err, stdout)
	}
	if diff := r.differences(&document, names...); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if code != exitFailure || stderr != "" {
		t.Errorf("exit code %d, want 1; on stderr, which is no terminal: %q", code, stderr)
	}
	var up []string
	for _, name := range names {
		for _, m := range result.Mirrors {
			if m.URLPrefix == r.prefix[name] && m.Up && m.Weight > 0 {
				up = append(up, name)
			}
		}
	}
	if diff := cmp.Diff(faultyUp, up); diff != "" || result.OK || result.Up != len(up) || result.Enabled != len(names)-1 {
		t.Errorf("up (-want +got):\n%s%+v", diff, result)
	}
	// Those that carry the reference at each address where they can be read.
	if n := result.Reference; n.Trace == nil || n.Source != probing.FromURL || n.Mirrors != 6 || n.Weight != 60 ||
		n.Enabled != len(names)-1 || n.EnabledWeight != uint64(10*n.Enabled) {
		t.Errorf("reference %+v", n)
	}
	want := []string{r.prefix["soon"] + ": " + r.address["soon"] + ": certificate expires on " +
		time.Now().Add(121*time.Hour).UTC().Format(time.DateOnly) + ", in 5 days"}
	if diff := cmp.Diff(want, result.Warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

// testText looks for what a reader needs, in the lines where it should be.
func (r *faultRig) testText(t *testing.T, file string) {
	code, stdout, stderr := r.run(t, "--config", file)
	if code != exitFailure || stderr != "" || strings.ContainsAny(stdout, "\x1b\r") {
		t.Errorf("exit code %d, stderr %q, stdout\n%s", code, stderr, stdout)
	}
	got := fieldsOf(stdout)
	for _, want := range []string{
		r.prefix["off"] + " disabled", r.prefix["halfdead"] + " h1 weight 10",
		r.address["soon"] + " http up - # # # # 5d 5h00m", r.address["soon"] + " dns up - # - # # - 5h00m",
		r.address["expired"] + " http down - # - - # ended -",
		r.address["stale"] + " http stale - # - # # - 10d",
		r.address["reference"] + " rsync up - # - - # - -",
		"127.0.5.251 dns down - - - - # - -",
		"- - unknown - - - - - - -",
		"status: 200 OK to a range request, want 206: the server cannot resume downloads",
		fmt.Sprintf("Up in all their roles: 2 of %d enabled mirrors.", len(faults)-1),
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no line %q in\n%s", want, stdout)
		}
	}
}

// fieldsOf returns the lines of a table with a space between the fields, and "#" for each time in ms.
func fieldsOf(text string) []string {
	var lines []string
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 10 && slices.Contains([]string{"http", "dns", "rsync"}, fields[1]) {
			for i := 3; i < 8; i++ {
				if fields[i] != "-" {
					fields[i] = "#"
				}
			}
		}
		lines = append(lines, strings.Join(fields, " "))
	}
	return lines
}

// testSelection probes only some.
func (r *faultRig) testSelection(t *testing.T, file string) {
	for _, test := range []struct {
		args []string
		code int
		want []string
	}{
		{[]string{r.prefix["good"]}, exitOK, []string{"good"}},
		{[]string{r.address["off"], "soon.example.org"}, exitOK, []string{"off", "soon"}},
		{[]string{"h1", strings.TrimSuffix(r.prefix["good"], "/")}, exitFailure, []string{"good", "halfdead"}},
		{[]string{"off.example.org", "h1"}, exitUsage, nil},
	} {
		code, stdout, stderr := r.run(t, append([]string{"--config", file, "--json"}, test.args...)...)
		if code != test.code {
			t.Errorf("%v: exit code %d, want %d\n%s%s", test.args, code, test.code, stdout, stderr)
		}
		if test.want == nil {
			if stdout != "" || !strings.Contains(stderr, `mirrorpool: no mirror "off.example.org" in the pool`) {
				t.Errorf("%v: %q, %q", test.args, stdout, stderr)
			}
			continue
		}
		var document faultDocument
		if err := json.Unmarshal([]byte(stdout), &document); err != nil {
			t.Fatalf("%v in %s", err, stdout)
		}
		if diff := r.differences(&document, test.want...); diff != "" {
			t.Errorf("%v (-want +got):\n%s", test.args, diff)
		}
	}
}

// testShared has no reference_url, so that the others tell that the only mirror asked for is stale.
func (r *faultRig) testShared(t *testing.T) {
	c, _ := newServerConfig(t)
	c.set("health", "dns_url", r.config.json["health"].(map[string]any)["dns_url"])
	c.write(t, "mirrorpool.json", c.json)
	var few []any
	for _, m := range r.pool().(map[string]any)["mirrors"].([]any) {
		if prefix := m.(map[string]any)["url_prefix"]; prefix == r.prefix["good"] || prefix == r.prefix["soon"] ||
			prefix == r.prefix["stale"] {
			few = append(few, m)
		}
	}
	c.write(t, "mirrors.json", map[string]any{"version": 1, "mirrors": few})
	code, stdout, stderr := r.run(t, "--config", filepath.Join(c.dir, "mirrorpool.json"), "--json", r.address["stale"])
	var document faultDocument
	var result probing.Result
	if err := errors.Join(json.Unmarshal([]byte(stdout), &document), json.Unmarshal([]byte(stdout), &result)); err != nil {
		t.Fatalf("%v in %s%s", err, stdout, stderr)
	}
	if diff := r.differences(&document, "stale"); diff != "" || code != exitFailure {
		t.Errorf("exit code %d (-want +got):\n%s", code, diff)
	}
	if n := result.Reference; n.Source != probing.FromMirrors || n.Mirrors != 2 || n.Enabled != 3 {
		t.Errorf("reference %+v", n)
	}
}

// testOne probes mirrors that are in no pool.
func (r *faultRig) testOne(t *testing.T) {
	dnsURL := "http://dl.example.org:" + r.web + "/tails/project/trace"
	rsyncURL := "rsync://" + net.JoinHostPort(r.address["reference"], r.rsync)
	for _, test := range []struct {
		name string
		args []string
		code int
		want string // a line
	}{
		{"good", nil, exitOK, r.address["good"] + " http up - # - # # - 5h00m"},
		{"good", []string{"--dns-url", dnsURL, "--rsync-url", rsyncURL + "/tails/"}, exitOK, r.address["reference"] +
			" rsync up - # - - # - -"},
		{"good", []string{"--rsync-url", rsyncURL + "/nothing/"}, exitFailure, "Up in all their roles: 0 of 1 enabled mirror."},
		{"soon", []string{"--ip", r.address["soon"]}, exitOK, "Warning: " + r.prefix["soon"] + ": " + r.address["soon"] +
			": certificate expires on " + time.Now().Add(121*time.Hour).UTC().Format(time.DateOnly) + ", in 5 days"},
		{"soon", nil, exitFailure, "- - unknown - - - - - - -"}, // only --ip tells where it is
		{"novhost", nil, exitOK, r.address["novhost"] + " http up - # - # # - 5h00m"},
		{"novhost", []string{"--dns-url", dnsURL}, exitFailure, "status: 404 Not Found, want 200"},
		{"good", []string{"--path", "nothing"}, exitFailure, "status: 404 Not Found, want 200"},
		{"hang", []string{"--timeout", "200ms"}, exitFailure, "request: timed out"},
		// A stale one cannot be told without the others.
		{"stale", nil, exitOK, r.address["stale"] + " http up - # - # # - 10d"},
	} {
		code, stdout, stderr := r.run(t, append([]string{"--url-prefix", r.prefix[test.name]}, test.args...)...)
		if lines := fieldsOf(stdout); code != test.code || !slices.Contains(lines, test.want) {
			t.Errorf("%s %v: exit code %d, want %d and %q in\n%s%s", test.name, test.args, code, test.code, test.want, stdout, stderr)
		}
	}
}

// TestProbeWritesNoState has a state_dir, where the server would keep things.
func TestProbeWritesNoState(t *testing.T) {
	t.Parallel()
	c, _ := newServerConfig(t)
	state := filepath.Join(c.dir, "state")
	if err := os.Mkdir(state, 0o755); err != nil {
		t.Fatal(err)
	}
	c.json["state_dir"] = state
	c.set("health", "enabled", false) // which is for servers
	port := testbed.FreePort(t, "127.0.5.252")
	c.write(t, "mirrorpool.json", c.json)
	c.write(t, "mirrors.json", `{"version": 1, "mirrors": [{"url_prefix": "http://127.0.5.252:`+port+`/", "weight": 1}]}`)
	before := filesIn(t, c.dir)
	code, stdout, stderr := command(t, "probe", "--config", filepath.Join(c.dir, "mirrorpool.json"))
	if code != exitFailure || !strings.Contains(stdout, "connect: connection refused") ||
		!strings.HasPrefix(stderr, "warning: health.enabled is false") {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
	if diff := cmp.Diff(before, filesIn(t, c.dir)); diff != "" {
		t.Errorf("files (-before +after):\n%s", diff)
	}
}

func filesIn(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.Walk(dir, func(path string, _ os.FileInfo, err error) error {
		names = append(names, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// hangingPool writes a configuration with one mirror that accepts connections and says nothing, for a long time.
func hangingPool(t *testing.T) (file string) {
	t.Helper()
	l := listenStrange(t, "127.0.5.253:0")
	t.Cleanup(func() { l.Close() })
	c, _ := newServerConfig(t)
	c.set("health", "timeout", "5m")
	c.write(t, "mirrorpool.json", c.json)
	c.write(t, "mirrors.json", fmt.Sprintf(`{"version": 1, "mirrors": [{"url_prefix": "http://%s/", "weight": 1, "dns": `+
		`false}]}`, l.Addr()))
	return filepath.Join(c.dir, "mirrorpool.json")
}

// readUntil reads until text has been seen, or the other end closes.
func readUntil(r io.Reader, text string) string {
	var seen []byte
	buf := make([]byte, 256)
	for !bytes.Contains(seen, []byte(text)) {
		n, err := r.Read(buf)
		seen = append(seen, buf[:n]...)
		if err != nil {
			break
		}
	}
	return string(seen)
}
