package dnssec

import (
	"testing"
	"time"
)

// seenBy is a parent that has all keys.
func seenBy(k *Keys) *View {
	v := &View{TTL: time.Hour, At: testNow.Add(48 * time.Hour)}
	for _, key := range k.All {
		v.DS = append(v.DS, key.DS())
	}
	return v
}

// TestHalfARolloverGoesOn has a rollover go on where only one of two files was replaced before a crash, and where its
// times were set by a clock that was far ahead.
func TestHalfARolloverGoesOn(t *testing.T) {
	t.Parallel()
	k, err := read(testConfig(), t.TempDir(), testNow)
	if err != nil {
		t.Fatal(err)
	}
	rolled, err := k.Roll("", testNow, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	seen := seenBy(rolled)
	whole := rolled.Advance(seen, time.Hour)
	next, old := whole.rolling(seen.At)
	nextBefore, oldBefore := rolled.rolling(seen.At)
	ahead := *seen
	ahead.At = seen.At.AddDate(1, 0, 0)
	for name, half := range map[string]*Keys{
		"the new key's file":     rolled.with(next, oldBefore),
		"the old key's file":     rolled.with(nextBefore, old),
		"a clock a year ahead":   rolled.Advance(&ahead, time.Hour),
		"none":                   rolled,
		"both, and nothing else": whole,
	} {
		later := *seen
		later.At = seen.At.Add(10 * time.Minute)
		got := half.Advance(&later, time.Hour)
		end := later.At.Add(6 * time.Hour)
		if got.All[0].Times.At(end.Add(24*time.Hour)) != Removed || got.All[1].Times.At(end) != Active {
			t.Errorf("%s: %s", name, got.describe(end.Add(24*time.Hour)))
		}
		if got.Advance(&later, time.Hour) != got {
			t.Errorf("%s: it goes on without end", name)
		}
	}
	if whole.Advance(seen, time.Hour) != whole {
		t.Error("a rollover that is planned is planned again")
	}
}
