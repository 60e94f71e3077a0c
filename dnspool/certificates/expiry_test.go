package certificates

import (
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// TestWatchTwoSources has certificates by ACME and in files for one name: what is wrong is logged once a day.
func TestWatchTwoSources(t *testing.T) {
	t.Parallel()
	start := time.Now()
	inFiles := Status{Name: "a.example.org", From: start.Add(-89 * day), Until: start.Add(day)}
	for _, test := range []struct {
		name string
		list []Status
		want string // "": nothing is logged
	}{
		{"renewed by ACME", []Status{{Name: "a.example.org", From: start, Until: start.Add(90 * day)}, inFiles}, ""},
		{"none by ACME", []Status{{Name: "a.example.org", Problem: "refused"}, inFiles}, messageMissing},
		{"first order under way", []Status{{Name: "a.example.org"}, inFiles}, messageOverdue},
		{"other name by ACME", []Status{{Name: "b.example.org", From: start, Until: start.Add(90 * day)}, inFiles}, messageOverdue},
	} {
		core, logs := observer.New(zap.WarnLevel)
		w := watcher{log: zap.New(core), latest: map[string]logged{}}
		for at := time.Duration(0); at < time.Hour; at += watchInterval {
			w.check(test.list, start.Add(at))
		}
		lines := logs.All()
		if test.want == "" && len(lines) == 0 || len(lines) == 1 && lines[0].Message == test.want {
			continue
		}
		t.Errorf("%s: %d lines in an hour, want %q once", test.name, len(lines), test.want)
	}
}
