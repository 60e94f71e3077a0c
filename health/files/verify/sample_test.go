package verify

import (
	"bytes"
	"context"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/zap"
)

// TestSample compares a range of a copy with that of the origin's file. A copy that differs twice is read as a whole
// next, where it differs. A mirror that sends whole files alone is asked for no range until the next day.
func TestSample(t *testing.T) {
	t.Parallel()
	right, wrong := randomText(1, 1000), randomText(2, 1000)
	for name, test := range map[string]struct {
		parts   [][]byte // that the mirror sends one after the other
		origin  error
		whole   bool // what it sends is the whole file
		gone    bool // the file has left the list meanwhile
		samples uint64
		urgent  bool
		pause   time.Duration // until the next range
	}{
		"the same":               {parts: [][]byte{right}, samples: 1},
		"differs once":           {parts: [][]byte{wrong, right}, samples: 1},
		"differs twice":          {parts: [][]byte{wrong, wrong}, samples: 1, urgent: true},
		"of a file that is gone": {parts: [][]byte{wrong, wrong}, gone: true, samples: 1},
		"broken off":             {parts: [][]byte{right[1:]}},
		"the whole file":         {parts: [][]byte{right}, whole: true, pause: wholeOnly},
		"no origin":              {origin: ErrNoOrigin},
	} {
		b := newBench(t)
		asked, soon := 0, b.now.Add(time.Hour)
		b.v.Origin = func(context.Context, string, int64, int64) ([]byte, error) { return right, test.origin }
		b.v.Fetch = func(context.Context, *Mirror, netip.Addr, string, int64, int64) (*Copy, error) {
			asked++
			if asked > len(test.parts) {
				return nil, errReset
			}
			return &Copy{Body: &body{Reader: bytes.NewReader(test.parts[asked-1])}, Size: -1, Whole: test.whole}, nil
		}
		b.m.done.Add(0)
		b.m.later[0], b.m.next, b.m.sampled = soon, soon, b.now
		b.v.rest()
		f := b.files[0]
		if test.gone {
			f = b.gone
		}
		b.v.sample(t.Context(), b.m, seenMirror, f, 0)
		if asked != len(test.parts) || b.v.counts.Samples != test.samples || b.m.sampled != b.now.Add(test.pause) {
			t.Errorf("%s: %d ranges are read, %d count, the next comes at %v", name, asked, b.v.counts.Samples, b.m.sampled)
		}
		wakes, warnings := len(b.v.wake), b.logs.FilterLevelExact(zap.WarnLevel).Len()
		switch {
		case test.urgent:
			if b.m.urgent != f || !b.m.next.IsZero() || b.m.done.Contains(0) || len(b.m.later) > 0 || wakes != 1 || warnings != 1 ||
				b.m.places[0] != seenMirror.Addresses[0] {
				t.Errorf("%s: the copy is not read as a whole next: %+v", name, b.m)
			}
		case b.m.urgent != nil || b.m.next != soon || !b.m.done.Contains(0) || b.m.later[0] != soon || len(b.m.places) > 0:
			t.Errorf("%s: %+v", name, b.m)
		}
	}
}
