package probe

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"time"

	"mirrorpool/health"
)

// A Prober looks at mirrors over HTTP, HTTPS and rsync.
type Prober struct {
	transport *http.Transport
	now       func() time.Time
}

// New returns a prober that trusts roots, or the system's certificates if roots is nil.
func New(roots *x509.CertPool, now func() time.Time) *Prober {
	return &Prober{transport: newTransport(roots, dialPinned), now: now}
}

// Probe looks at t once. See [health.Prober].
func (p *Prober) Probe(ctx context.Context, t health.Target) health.Observation {
	start := p.now()
	o := health.Observation{Result: health.Up}
	look := p.fetchTrace
	if t.Role == health.Rsync {
		look = p.statRsync
	}
	err := look(withRoute(ctx, &t), t, &o)
	o.At = p.now()
	o.Took = o.At.Sub(start) - o.Awaited
	o.Timings.Total = o.Took
	if err != nil {
		o.Result, o.Cause, o.Reason = judge(err)
		o.Evidence = o.Result == health.Down && isEvidence(err)
		var busy *busyError
		if errors.As(err, &busy) {
			o.RetryAfter = busy.retryAfter
		}
		var failed *stepError
		o.NoConnection = t.Role == health.Rsync && errors.As(err, &failed) && failed.step == health.StepConnect
	}
	return o
}
