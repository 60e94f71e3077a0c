package health

import (
	"context"
	"fmt"
	"net/url"
	"time"
)

// A Reference is what mirrors should carry, and who does.
type Reference struct {
	Release
	// Problem says why the reference may be out of date, or is not known; empty if all is well.
	Problem string

	// Mirrors of the Enabled ones carry the reference at each address where their trace is known, and
	// their weights are Weight of EnabledWeight.
	Mirrors, Enabled      int
	Weight, EnabledWeight uint64
}

// referenceProblem describes why reference_url could not be read.
func referenceProblem(err error, known Release) string {
	if known.Trace.IsZero() {
		return fmt.Sprintf("reference_url cannot be read: %v; no reference is known", err)
	}
	return fmt.Sprintf("reference_url cannot be read: %v; keeping the last one known", err)
}

// A ReferenceReader reads the trace of the origin, which all mirrors should carry. It returns by ctx's
// deadline.
type ReferenceReader interface {
	ReadReference(ctx context.Context, u *url.URL, userAgent string) (time.Time, error)
}
