package health

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mirrorpool/health/rsync"
)

// An RsyncProber asks rsync daemons for the trace file's size. What is in the file it does not read: the
// probes over HTTP do that.
type RsyncProber struct {
	now func() time.Time
}

// NewRsyncProber returns a prober for role Rsync.
func NewRsyncProber(now func() time.Time) *RsyncProber { return &RsyncProber{now} }

// Probe asks the daemon at t.Address for t.Rsync.
func (p *RsyncProber) Probe(ctx context.Context, t Target) Observation {
	start := p.now()
	o := Observation{Result: Up}
	err := p.look(ctx, t, &o)
	o.At = p.now()
	o.Took = o.At.Sub(start)
	o.Timings.Total = o.Took
	if err != nil {
		o.Result, o.Reason = judge(err)
		var failed *stepError
		o.NoConnection = errors.As(err, &failed) && failed.step == stepConnect
	}
	return o
}

func (p *RsyncProber) look(ctx context.Context, t Target, o *Observation) error {
	start := p.now()
	dialCtx, cancel := ctx, func() {}
	if t.ConnectTimeout > 0 {
		dialCtx, cancel = context.WithTimeout(ctx, t.ConnectTimeout)
	}
	conn, err := dialAddress(dialCtx, t.Address, t.Rsync.Port)
	cancel()
	if err != nil {
		return &stepError{stepConnect, err}
	}
	defer conn.Close()
	o.Timings.Connect = p.now().Sub(start)

	file, err := rsync.Stat(ctx, conn, t.Rsync.Module, t.Rsync.Path)
	switch {
	case errors.Is(err, rsync.ErrUnknownModule), errors.Is(err, rsync.ErrAuthRequired),
		errors.Is(err, rsync.ErrRefused), errors.Is(err, rsync.ErrBusy), errors.Is(err, rsync.ErrNoFile):
		return &stepError{stepStatus, err} // the daemon works, and said no
	case err != nil:
		return &stepError{stepRequest, err}
	case file.Size == 0 || file.Size > maxTraceBytes:
		return &stepError{stepBody, fmt.Errorf("the trace file has %d bytes, want an epoch second", file.Size)}
	}
	return nil
}
