package daemon

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"mirrorpool/config"
	"mirrorpool/health"
)

// A halfSilent network has one mirror that is up, and others that do not answer.
type halfSilent struct{ answers netip.Addr }

func (n halfSilent) Probe(ctx context.Context, t health.Target) health.Observation {
	began := time.Now()
	if t.Address == n.answers {
		return health.Observation{At: began, Result: health.Up}
	}
	<-ctx.Done()
	return health.Observation{At: began, Result: health.Down, Reason: "connect: timed out"}
}

// TestFacesWaitForTheSweep: what the first checks say does not open the faces before all mirrors have been checked.
func TestFacesWaitForTheSweep(t *testing.T) {
	t.Parallel()
	c, _, err := config.ParseServer("mirrorpool.json", []byte(`{"mirrors": "mirrors.json",
		"dns": {"zone": "dl.example.org", "nameservers": ["ns1.example.org"]}, "health": {"startup_timeout": "1m"}}`))
	if err != nil {
		t.Fatal(err)
	}
	c.DNS.Listen, c.HTTP.Listen, c.Admin.Listen = nil, nil, "" // sockets know no bubble's time
	synctest.Test(t, func(t *testing.T) {
		o := Options{Config: c, Log: zap.NewNop(), List: []byte(`{"version": 1, "mirrors": [
			{"url_prefix": "http://192.0.2.1/", "weight": 1}, {"url_prefix": "http://192.0.2.2/", "weight": 1}]}`)}
		list, err := startList(t.Context(), o, readVerdicts(o.Config, time.Now))
		if err != nil {
			t.Fatal(err)
		}
		d, err := newDaemon(o, list, func(o health.Options) (*health.Checker, error) {
			o.Prober, o.Rand = halfSilent{netip.MustParseAddr("192.0.2.1")}, rand.New(rand.NewPCG(1, 2))
			return health.NewChecker(o)
		}, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		d.begin()
		ctx, cancel := context.WithCancel(t.Context())
		var g errgroup.Group
		g.Go(func() error { return d.checker.Run(ctx) })
		time.Sleep(time.Second) // in the bubble: one mirror has a verdict, and the other is waited for
		g.Go(func() error { return d.face(ctx) })
		synctest.Wait()
		if d.ready() != errNotReady {
			t.Error("the faces are open before all mirrors were checked")
		}
		time.Sleep(c.Health.StartupTimeout / 2)
		synctest.Wait()
		if err := d.ready(); err != nil {
			t.Errorf("after the sweep: %v", err)
		}
		cancel()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	})
}
