package systest

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"mirrorpool/testdata/testbed"
)

// TestMonitoring has Prometheus' own tool judge the metrics of a running server and the alert rules, and holds the
// rules to metrics that there are.
func TestMonitoring(t *testing.T) {
	t.Parallel()
	promtool := testbed.Need(t, "promtool", "prometheus")
	folder := testbed.Root(t, "dnspool/admin/alerts")
	for _, args := range [][]string{{"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}} {
		cmd := exec.Command(promtool, args...)
		cmd.Dir = folder
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
	c, where := geoConfig(t)
	cert, key := testbed.NewAuthority(t).IssueFiles(t, "dl.example.org", time.Now().Add(time.Hour))
	c.set("http", "tls", map[string]any{"cert": cert, "key": key, "listen": []string{"127.0.0.1:" + testbed.FreePort(t)}})
	p := c.serve(t, where, geoPool)
	p.inDNS(t)
	stay := &http.Client{CheckRedirect: noRedirect}
	fetch(t, stay, "http://"+p.web+"/x")
	metrics := fetch(t, http.DefaultClient, "http://"+p.admin+"/metrics")
	cmd := exec.Command(promtool, "check", "metrics")
	cmd.Stdin = bytes.NewReader(metrics)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
	for _, want := range []string{
		`mirrorpool_dns_queries_total{path="fast",rcode="NOERROR",transport="udp",type="A"} 60`,
		`reason="place"} 1`, // where this host is said to be
		`mirrorpool_dns_answer_duration_seconds_count{path="fast"} `,
	} {
		if !bytes.Contains(metrics, []byte(want)) {
			t.Errorf("no %s", want)
		}
	}
	rules, err := os.ReadFile(filepath.Join(folder, "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (\S+) (\S+)$`).FindAllSubmatch(metrics, -1) {
		names[string(m[1])] = true
		if string(m[2]) == "histogram" {
			names[string(m[1])+"_bucket"] = true
		}
	}
	// These appear with what they speak of: here are no certificates of mirrors, servers to be fed,
	// signatures, known files, or other watchers.
	elsewhere := []string{"mirrorpool_endpoint_certificate_expiry_timestamp_seconds", "mirrorpool_publish_up",
		"mirrorpool_notify_up", "mirrorpool_dnssec_signature_expiry_timestamp_seconds", "mirrorpool_dnssec_ds_matches",
		"mirrorpool_dnssec_parent_seen_timestamp_seconds",
		"mirrorpool_dnssec_key_files_ok", "mirrorpool_dnssec_signing_ok", "mirrorpool_dnssec_keys_end_timestamp_seconds",
		"mirrorpool_mirror_files_corrupt", "mirrorpool_watcher_up", "mirrorpool_watch_joint",
		"mirrorpool_mirror_disputed_endpoints"}
	for _, name := range regexp.MustCompile(`mirrorpool_[a-z_]+`).FindAllString(string(rules), -1) {
		if !names[name] && !slices.Contains(elsewhere, name) {
			t.Errorf("an alert rests on %s, which is not among the metrics", name)
		}
	}
	p.stop(t)
}
