package probe

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"time"

	"mirrorpool/health"
)

// A Reference reads a trace over HTTP or HTTPS. The operator names its URL, so it may be anywhere, an
// inside network included.
type Reference struct {
	transport *http.Transport
	now       func() time.Time
}

// NewReference returns a reader that trusts roots, or the system's certificates if roots is nil.
func NewReference(roots *x509.CertPool, now func() time.Time) *Reference {
	return &Reference{transport: newTransport(roots, new(net.Dialer).DialContext), now: now}
}

// ReadReference reads the trace at u. The error begins with the step that failed.
func (r *Reference) ReadReference(ctx context.Context, u *url.URL, userAgent string) (time.Time, error) {
	f := fetch{transport: r.transport, now: r.now, target: &health.Target{UserAgent: userAgent}, seen: new(health.Observation)}
	f.mayFollow = func(to *http.Request, via []*http.Request) error {
		return checkScheme(to.URL, via[len(via)-1].URL, len(via))
	}
	body, err := f.get(ctx, u, nil)
	if err == nil {
		var trace time.Time
		if trace, err = readTrace(body, r.now()); err == nil {
			return trace, nil
		}
	}
	_, _, reason := judge(err)
	return time.Time{}, errors.New(reason)
}
