package watch

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"mirrorpool/health"
)

// TestTooManyEndpoints: a mirror with more endpoints than are shared is logged, once until it has fewer.
func TestTooManyEndpoints(t *testing.T) {
	t.Parallel()
	g := newGroupOf(t, time.Now)
	core, logs := observer.New(zap.WarnLevel)
	g.o.Log = zap.New(core)
	for _, step := range []struct{ endpoints, logged int }{{maxOpinions, 0}, {maxOpinions + 1, 1}, {maxOpinions + 2, 0}, {1, 0}, {maxOpinions + 1, 1}} {
		var m health.MirrorReport
		for i := range step.endpoints {
			m.Endpoints = append(m.Endpoints, health.Endpoint{Address: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})})
		}
		g.Apply(&health.Report{At: time.Now(), Mirrors: map[string]health.MirrorReport{"https://a/": m}})
		if lines := logs.TakeAll(); len(lines) != step.logged {
			t.Errorf("%d endpoints: logged %s", step.endpoints, fmt.Sprint(lines))
		}
		if n := len(g.own.mirrors["https://a/"].List); n != min(step.endpoints, maxOpinions) {
			t.Errorf("%d of %d endpoints are shared", n, step.endpoints)
		}
	}
}
