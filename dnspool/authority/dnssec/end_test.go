package dnssec

import (
	"strings"
	"testing"
	"time"
)

// TestKeysEnd wants the end of listed keys to be known ahead, unless others follow, and to be trouble only once it is
// near, with what to do.
func TestKeysEnd(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		times map[string]string
		keys  string
		hours int // until the end; 0 for none
		want  string
	}{
		"no end":                       {nil, "K1 Z1", 0, ""},
		"the key ends":                 {map[string]string{"K1": "Publish 0, Activate 0, Inactive 240, Delete 400"}, "K1", 240, "set its times with dnssec-settime"},
		"it is deleted":                {map[string]string{"K1": "Publish 0, Activate 0, Delete 240"}, "K1 Z1", 240, "set its times with dnssec-settime"},
		"the other one goes on":        {map[string]string{"Z1": "Publish 0, Activate 0, Inactive 240"}, "K1 Z1", 0, ""},
		"the next one follows":         {map[string]string{"K1": "Publish 0, Activate 0, Inactive 240", "K2": "Publish 99, Activate 240"}, "K1 K2", 0, ""},
		"the next one follows later":   {map[string]string{"K1": "Publish 0, Activate 0, Inactive 240", "K2": "Publish 99, Activate 250"}, "K1 K2", 240, "dnssec-settime"},
		"an algorithm is half removed": {map[string]string{"C1": "Publish 0, Activate 0, Delete 240", "E1": "Publish 0, Activate 0"}, "K1 C1 E1", 240, "with the flag SEP (257)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newListedKeys(t, "K1", "K2", "Z1", "C1", "E1")
			for key, times := range test.times {
				l.set(key, times)
			}
			var files []string
			for key := range strings.FieldsSeq(test.keys) {
				files = append(files, l.files[key])
			}
			k, err := Read(testConfig(files...), "", testNow)
			if err != nil {
				t.Fatal(err)
			}
			end, why := k.End(testNow)
			if (test.hours == 0) != end.IsZero() || test.hours > 0 && (!end.Equal(l.at(test.hours)) || !strings.Contains(why.Error(), test.want)) {
				t.Fatalf("the keys end at %v, %v, want %d hours and %q", end, why, test.hours, test.want)
			}
			for _, hours := range []int{0, 240 - 73, 240 - 71} {
				s := k.Describe(l.at(hours), nil, "")
				s.Expires = l.at(hours + 99)
				if got := s.Trouble(l.at(hours)); (got != "") != (test.hours > 0 && hours > 240-72) || !strings.Contains(got, s.Ending) {
					t.Errorf("after %d hours: %q", hours, got)
				}
				if _, ok := collect(t, &s)["keys_end_timestamp_seconds"]; ok != (test.hours > 0) {
					t.Errorf("after %d hours: a metric %v", hours, ok)
				}
			}
			if test.hours > 0 && k.EndsSoon(l.at(test.hours)) != "" {
				t.Error("what has ended ends soon")
			}
		})
	}
}

// TestSignedAheadEnds wants the end of what a key that is elsewhere has signed to be known days ahead, with what to do
// instead of a hint at the log.
func TestSignedAheadEnds(t *testing.T) {
	t.Parallel()
	k := newSplitKey(t)
	k.moveAway(t, ".1", testNow.Add(-time.Hour), 10, k.both()...)
	k.moveAway(t, ".2", testNow.AddDate(0, 0, 9), 10, k.both()...)
	keys, err := Read(testConfig(k.kskAt, k.zskAt), "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	for days, trouble := range map[int]string{0: "", 15: "", 16: "sign some where its private part is", 18: "sign some where its private part is",
		20: "sign some where its private part is"} {
		now := testNow.AddDate(0, 0, days)
		s := keys.Describe(now, nil, "")
		if s.Expires = testNow.AddDate(0, 0, 19); days == 20 {
			s.Signing = keys.checkAt(now, now).Error()
		}
		got := s.Trouble(now)
		if (got == "") != (trouble == "") || !strings.Contains(got, trouble) || strings.Contains(got, "see the log") {
			t.Errorf("on day %d: %q, want %q", days, got, trouble)
		}
	}
	k.signAhead(t, ".1", k.both(), k.ksk.ToDS(2).ToCDS())
	if keys, err = Read(testConfig(k.kskAt, k.zskAt), "", testNow); err != nil {
		t.Fatal(err)
	}
	if ending := keys.EndsSoon(testNow.AddDate(0, 0, 8)); strings.Contains(ending, "cannot be signed") || ending == "" {
		t.Errorf("CDS records end soon: %q", ending)
	}
	if end, why := keys.End(testNow); why == nil || !strings.Contains(why.Error(), "CDS or CDNSKEY records") || end.After(testNow.AddDate(0, 0, 10)) {
		t.Errorf("CDS records end at %v: %v", end, why)
	}
}
