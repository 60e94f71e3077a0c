package probe

import (
	"context"
	"errors"
	"fmt"

	"mirrorpool/health"
	"mirrorpool/health/rsync"
)

// statRsync asks the daemon at t.Address for the size of the trace file t.Rsync. It does not read the file: the probes
// over HTTP do that.
func (p *Prober) statRsync(ctx context.Context, t health.Target, o *health.Observation) error {
	start := p.now()
	dialCtx, cancel := ctx, func() {}
	if t.ConnectTimeout > 0 {
		dialCtx, cancel = context.WithTimeout(ctx, t.ConnectTimeout)
	}
	conn, err := dialAddress(dialCtx, t.Address, t.Rsync.Port)
	cancel()
	if err != nil {
		noteLate(ctx, err, o, p.now)
		return &stepError{health.StepConnect, err}
	}
	defer conn.Close()
	o.Timings.Connect = p.now().Sub(start)

	file, err := rsync.Stat(ctx, conn, t.Rsync.Module, t.Rsync.Path)
	switch {
	case errors.Is(err, rsync.ErrUnknownModule), errors.Is(err, rsync.ErrAuthRequired),
		errors.Is(err, rsync.ErrRefused), errors.Is(err, rsync.ErrBusy), errors.Is(err, rsync.ErrNoFile):
		return &stepError{health.StepStatus, err} // the daemon works, and refused
	case err != nil:
		noteLate(ctx, err, o, p.now)
		return &stepError{health.StepRequest, err}
	case file.Size == 0 || file.Size > maxTraceBytes:
		return &stepError{health.StepBody, fmt.Errorf("the trace file has %d bytes, want an epoch second", file.Size)}
	}
	return nil
}
