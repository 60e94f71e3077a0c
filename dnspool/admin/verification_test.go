package admin

import (
	"testing"

	"github.com/google/go-cmp/cmp"

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
	v := Verification{Mirrors: map[string]verify.MirrorReport{
		"http://good/": {Verified: 412, Speed: 11_300_000},
		"http://one/":  {Verified: 1, Corrupt: found("x")},
		"http://many/": {Corrupt: found("a", "b", "c", "d", "e"), Condemned: found("a")[0]},
	}}
	for prefix, want := range map[string]string{
		"http://good/": "412 files verified, sends 11.3 MB/s", "http://one/": "corrupt: x, 1 file verified",
		"http://many/": "corrupt: a, corrupt: b, corrupt: c, 2 more", "http://none/": "",
	} {
		if got := v.Text(prefix); got != want {
			t.Errorf("%s: %q, want %q", prefix, got, want)
		}
	}
	want := []string{
		"http://many/ has 5 corrupt files, which it does not serve: a and others; it serves nothing until all its files have been " +
			"read again without a fault, or 'mirrorpool pardon'.",
		"http://one/ has 1 corrupt file, which it does not serve: x.",
	}
	if diff := cmp.Diff(want, v.problems()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
