package watch

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"mirrorpool/health"
)

// TestTooManyEndpoints: mirrors with more endpoints than are shared are logged, once until they have fewer.
func TestTooManyEndpoints(t *testing.T) {
	t.Parallel()
	g := newGroupOf(t, time.Now)
	core, logs := observer.New(zap.WarnLevel)
	g.o.Log = zap.New(core)
	for _, step := range []struct {
		endpoints int
		rsync     bool // is one of them
		logged    int
	}{
		{maxOpinions, false, 0}, {maxOpinions + 1, false, 2}, {maxOpinions + 2, false, 0}, {1, false, 0}, {maxOpinions + 1, true, 2},
		{maxOpinions + 1, false, 0}, {maxOpinions, true, 0}, {maxOpinions + 1, false, 2},
	} {
		var m health.MirrorReport
		if step.rsync {
			m.Rsync = &health.Endpoint{Role: health.Rsync}
		}
		for i := range step.endpoints - count(step.rsync) {
			m.Endpoints = append(m.Endpoints, health.Endpoint{Address: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})})
		}
		g.Apply(&health.Report{At: time.Now(), Mirrors: map[string]health.MirrorReport{"https://a/": m, "https://b/": m}})
		if lines := logs.TakeAll(); len(lines) != step.logged {
			t.Errorf("%d endpoints: logged %s", step.endpoints, fmt.Sprint(lines))
		}
		if n := len(g.own.mirrors["https://a/"].List); n != min(step.endpoints, maxOpinions) {
			t.Errorf("%d of %d endpoints are shared", n, step.endpoints)
		}
	}
}

// TestHasKeys: the first key matters, which encrypts, and which others there are, in whatever order.
func TestHasKeys(t *testing.T) {
	t.Parallel()
	keysOf := func(letters string) (keys [][]byte) {
		for _, c := range letters {
			keys = append(keys, bytes.Repeat([]byte(string(c)), 32))
		}
		return keys
	}
	g := newGroupNamed(t, time.Now, "fra")
	for _, step := range []string{"abc", "bca", "ca"} {
		if err := g.SetKeys(keysOf(step)); err != nil {
			t.Fatal(err)
		}
		for letters, want := range map[string]bool{step: true, step[:1] + reversed(step[1:]): true, reversed(step): false, step[:1]: false,
			step[:1] + "xyz"[:len(step)-1]: false, step + "x": false, "": false} {
			if got := g.HasKeys(keysOf(letters)); got != want {
				t.Errorf("of %s it has %q: %v", step, letters, got)
			}
		}
	}
}

func reversed(s string) string {
	b := []byte(s)
	slices.Reverse(b)
	return string(b)
}
