package admin

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mirrorpool/health/files"
)

// TestReleaseLines holds the words on a release, of one file and of several.
func TestReleaseLines(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	release := files.ReleaseView{Count: 1, Complete: 1, Enabled: 6, Weight: 10, Whole: 60,
		Files: []files.ReleaseFile{{File: files.File{Path: "x.img"}, Mirrors: 1, Weight: 10, Missing: []string{"b", "c", "d", "e", "f"}}}}
	several := release
	several.Count, several.Since = 2, now.Add(-time.Hour)
	several.Files = []files.ReleaseFile{{File: files.File{Path: "x.img"}, Mirrors: 4, Weight: 40, Missing: []string{"b", "c"}}}
	recent := release
	recent.Since, recent.Files = now.Add(-time.Hour), nil
	for name, test := range map[string]struct {
		release files.ReleaseView
		want    []string
	}{
		"none": {files.ReleaseView{}, nil},
		"one": {release, []string{"The newest file: complete on 1 of 6 enabled mirrors, with 10 of the weight 60.",
			"x.img: 1 mirror, weight 10; missing or unknown on b, c, d and 2 more"}},
		"several": {several, []string{"2 new files since 1h00m ago: complete on 1 of 6 enabled mirrors, with 10 of the weight 60.",
			"x.img: 4 mirrors, weight 40; missing or unknown on b, c"}},
		"one, new": {recent, []string{"1 new file since 1h00m ago: complete on 1 of 6 enabled mirrors, with 10 of the weight 60."}},
	} {
		var s Status
		s.Files.Release = test.release
		if diff := cmp.Diff(test.want, s.ReleaseLines(now, 5)); diff != "" {
			t.Errorf("%s: (-want +got):\n%s", name, diff)
		}
	}
}
