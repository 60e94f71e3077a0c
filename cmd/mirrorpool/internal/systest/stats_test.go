package systest

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"mirrorpool/dnspool/stats"
	"mirrorpool/testdata/testbed"
)

// Addresses of clients, which may be found nowhere.
const (
	behindProxy = "198.51.100.77"
	directly    = "127.77.66.55"
)

// TestDownloadsOfClients has real clients download, and counts; then it looks for their addresses wherever the server
// may have left them.
func TestDownloadsOfClients(t *testing.T) {
	t.Parallel()
	r := newDrainRig(t, "127.0.1.71", "127.0.1.72", "127.0.1.73")
	r.config.set("http", "trusted_proxies", []string{"127.0.0.1/32"})
	r.config.set("http", "public_stats", true)
	r.config.json["log"] = map[string]any{"level": "debug"}
	box := testbed.NewMailbox(t, "")
	r.config.json["mail"] = map[string]any{"smtp": "smtp://" + box.Addr, "from": "a@example.org", "team": "team@example.org"}
	r.config.write(t, "mirrorpool.json", r.config.json)
	r.shows(t, "http.public_stats", "reload")
	before := r.numbers(t, "day")
	site := "http://" + r.web + "/stable/tails-amd64-6.0/tails-amd64-6.0.iso"
	run := func(program, debianPackage string, args ...string) {
		t.Helper()
		cmd := exec.Command(testbed.Need(t, program, debianPackage), args...)
		cmd.Dir = t.TempDir()
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s %v: %v\n%s", program, args, err, out)
		}
	}
	curl := func(args ...string) { run("curl", "curl", append([]string{"-sSfL", "-o", "x", site}, args...)...) }
	for range 3 {
		curl("--interface", directly)
	}
	curl("-H", "X-Forwarded-For: "+behindProxy)
	curl("-r", "3-")
	curl("-r", "3-4")
	curl("-I")
	curl("-H", `If-None-Match: "x"`)
	run("wget2", "wget2", "-q", "--bind-address="+directly, site)
	run("aria2c", "aria2", "-q", "--interface="+directly, site)
	run("wget", "wget", "-q", "--header=X-Forwarded-For: "+behindProxy, site)

	after := r.numbers(t, "day")
	for kind, want := range map[string]uint64{"download": 7, "resumed": 1, "segment": 1, "head": 1, "conditional": 1} {
		if got := of(after.Sums, kind) - of(before.Sums, kind); got != want {
			t.Errorf("%s: %d, want %d", kind, got, want)
		}
	}
	if rows := r.numbers(t, "path").Rows; len(rows) != 2 || rows[1].Name != "stable/" || rows[1].Downloads != 7 {
		t.Errorf("by path: %+v, want 7 in stable/ besides those of the set-up", rows)
	}
	r.shows(t, "country,downloads\nunknown,", "stats", "--by", "country", "--csv")
	r.shows(t, "resumed 1, segment 1, conditional 1, head 1", "stats", "--since", "24h", "--by", "mirror")
	r.run(t, 0, "until", "drain", "b", "--for", "1h", "--reason", "r")

	r.shows(t, "sent", "mail", "--test")

	var seen bytes.Buffer
	for _, m := range box.Mails() {
		seen.WriteString(m.Text)
	}
	for _, url := range []string{
		"http://" + r.admin + "/", "http://" + r.admin + "/metrics", "http://" + r.admin + "/api/v1/status",
		"http://" + r.admin + "/api/v1/ledger", "http://" + r.admin + "/api/v1/stats?by=country", "http://" + r.web + "/?mirrorstats",
	} {
		seen.Write(fetch(t, http.DefaultClient, url))
	}
	if !strings.Contains(seen.String(), `aria-label="Downloads by day: `) || !strings.Contains(seen.String(), `mirrorpool_downloads_total{kind="download"}`) ||
		!strings.Contains(seen.String(), "The mirrors in numbers") || !strings.Contains(seen.String(), "This is a test of mirrorpool") {
		t.Error("page, metrics or the public page do not show downloads, or there is no mail")
	}
	r.stop(t)
	seen.WriteString(r.log.String())
	files := 0
	err := filepath.WalkDir(r.config.json["state_dir"].(string), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		seen.Write(text)
		files++
		return err
	})
	if err != nil || files < 6 {
		t.Errorf("%d files in state_dir, %v", files, err)
	}
	for _, address := range []string{behindProxy, directly, "c633644d", "7f4d4237", "xjNkTQ", "f01CNw"} { // in hexadecimal and base64, too
		if i := strings.Index(seen.String(), address); i >= 0 {
			t.Errorf("a client's address: %q", seen.String()[max(0, i-100):i+len(address)])
		}
	}
	r.program = r.config.start(t, r.where)
	r.waitReady(t)
	if again := r.numbers(t, "day"); of(again.Sums, "download") != of(after.Sums, "download") {
		t.Errorf("after a restart %+v, before %+v", again.Sums, after.Sums)
	}
}

// numbers asks the server for numbers of downloads.
func (r *drainRig) numbers(t *testing.T, by string) (report stats.Report) {
	t.Helper()
	out, err := exec.Command(r.cmd.Path, "stats", "--json", "--by", by, "--admin", r.admin).Output()
	if err == nil {
		err = json.Unmarshal(out, &report)
	}
	if err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	return report
}

// of returns the count with a name.
func of(list []stats.Count, name string) uint64 {
	for _, c := range list {
		if c.Name == name {
			return c.N
		}
	}
	return 0
}
