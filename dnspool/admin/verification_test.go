package admin

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"mirrorpool/health/files/verify"
)

func TestVerificationText(t *testing.T) {
	t.Parallel()
	found := func(paths ...string) (list []*verify.Finding) {
		for _, path := range paths {
			list = append(list, &verify.Finding{Path: path})
		}
		return list
	}
	v := Verification{Files: 500, Mirrors: map[string]verify.MirrorReport{
		"http://good/": {Verified: 412, Speed: 11_300_000},
		"http://one/":  {Verified: 1, Corrupt: found("x")},
		"http://many/": {Corrupt: found("a", "b", "c", "d", "e"), Condemned: found("a")[0]},
		"http://mute/": {}, // no read of it came to its end
		"http://was/":  {Condemned: found("a")[0]},
	}}
	for prefix, want := range map[string]string{
		"http://good/": "412 of 500 files verified, sends 11.3 MB/s", "http://one/": "corrupt: x, 1 of 500 files verified",
		"http://many/": "corrupt: a, corrupt: b, corrupt: c, 2 more, 0 of 500 files verified", "http://none/": "",
		"http://mute/": "0 of 500 files verified",
	} {
		if got := v.Text(prefix); got != want {
			t.Errorf("%s: %q, want %q", prefix, got, want)
		}
	}
	v.Files = 0 // verification is off
	for prefix, want := range map[string]string{"http://good/": "sends 11.3 MB/s", "http://mute/": ""} {
		if got := v.Text(prefix); got != want {
			t.Errorf("%s, while none is verified: %q, want %q", prefix, got, want)
		}
	}
	want := []string{
		"http://many/ has 5 corrupt files, which it does not serve: a and others; it serves nothing until all its files have been " +
			"read again without a fault, or 'mirrorpool pardon'.",
		"http://one/ has 1 corrupt file, which it does not serve: x.",
		"http://was/ had corrupt files, such as a; it serves nothing until all its files have been read again without a fault, or " +
			"'mirrorpool pardon'.",
	}
	if diff := cmp.Diff(want, v.problems()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestCollectReads gives each counter under its name.
func TestCollectReads(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	registry.MustRegister(faceCollector(func(ch chan<- prometheus.Metric) {
		CollectReads(verify.Counts{Good: 1, Corrupt: 2, Broken: 3, Samples: 4, Bytes: 5}, ch)
	}))
	const want = `# HELP mirrorpool_verification_bytes_total Bytes read from mirrors to verify their files.
# TYPE mirrorpool_verification_bytes_total counter
mirrorpool_verification_bytes_total 5
# HELP mirrorpool_verification_reads_total Reads of mirrors' files: whole ones that were good, corrupt or broken off, and ranges.
# TYPE mirrorpool_verification_reads_total counter
mirrorpool_verification_reads_total{result="broken"} 3
mirrorpool_verification_reads_total{result="corrupt"} 2
mirrorpool_verification_reads_total{result="good"} 1
mirrorpool_verification_reads_total{result="range"} 4
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}
