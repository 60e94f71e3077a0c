package probe

import (
	"context"
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"

	"mirrorpool/health"
)

// TestEachRequestHasItsTime has a server that takes most of a request's time for each, in both roles alike, and one
// that takes more.
func TestEachRequestHasItsTime(t *testing.T) {
	t.Parallel()
	const limit = 4 * time.Second
	for _, test := range []struct {
		delay time.Duration
		want  health.State
	}{{limit * 6 / 10, health.Up}, {limit * 2, health.Down}} {
		s := serve(t, "127.0.0.7", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-time.After(test.delay): // this is the server that is tested against
			case <-r.Context().Done():
			}
			serveTrace(w, r)
		}))
		for _, role := range [...]health.Role{health.HTTP, health.DNS} {
			target := target(t, role, "http", mirrorHost, portOf(s.Listener), "127.0.0.7")
			target.RequestTimeout = limit
			target.Await = func(context.Context) time.Duration { return time.Hour } // waiting for a turn is no latency
			if o := New(nil, time.Now).Probe(within(t, 10*limit), target); o.Result != test.want || o.Took > 0 {
				t.Errorf("%v to the first byte of %v, role %v: %v, %q, took %v", test.delay, limit, role, o.Result, o.Reason, o.Took)
			}
		}
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	rest := &part{first: 1, size: 11}
	for _, test := range []struct {
		status int
		header string
		of     *part
		want   time.Duration // 0: not busy
	}{
		{429, "", nil, usualRetryAfter},
		{429, "7", nil, 7 * time.Second},
		{429, " 30 ", rest, 30 * time.Second},
		{429, "0", nil, minRetryAfter},
		{429, "-5", nil, usualRetryAfter},
		{429, "99999999999999999999", nil, usualRetryAfter},
		{429, "86400", nil, maxRetryAfter},
		{429, now.Add(20 * time.Second).UTC().Format(http.TimeFormat), nil, 20 * time.Second},
		{429, now.Add(-time.Hour).UTC().Format(http.TimeFormat), nil, minRetryAfter},
		{503, "7", nil, 7 * time.Second},
		{503, "", nil, 0},
		{503, "", rest, usualRetryAfter},
		{500, "7", nil, 0},
		{404, "7", rest, 0},
	} {
		resp := &http.Response{StatusCode: test.status, Header: http.Header{"Retry-After": {test.header}}}
		if wait, busy := retryAfter(resp, test.of, now); wait != test.want || busy != (test.want > 0) {
			t.Errorf("%d with Retry-After %q, range %v: %v, busy %v, want %v", test.status, test.header, test.of != nil, wait, busy,
				test.want)
		}
	}
}

// TestProbeBusy has a server that refuses for too many requests: that is no fault of its own.
func TestProbeBusy(t *testing.T) {
	t.Parallel()
	s := serve(t, "127.0.0.7", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3")
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	o := New(nil, time.Now).Probe(within(t, 5*time.Second), target(t, health.HTTP, "http", mirrorHost, portOf(s.Listener),
		"127.0.0.7"))
	if o.Result != health.Unknown || o.RetryAfter != 3*time.Second || o.Reason != "status: 503 Service Unavailable, want 200" {
		t.Errorf("%v, %q, again in %v", o.Result, o.Reason, o.RetryAfter)
	}
}

// TestLate has a time-out that this host noticed in time, or late.
func TestLate(t *testing.T) {
	t.Parallel()
	deadline := time.Unix(1_800_000_000, 0)
	ctx, cancel := context.WithDeadline(t.Context(), deadline)
	defer cancel()
	for _, test := range []struct {
		late, want time.Duration
		err        error
	}{
		{0, 0, context.DeadlineExceeded},
		{time.Second, time.Second, &stepError{health.StepTLS, context.DeadlineExceeded}},
		{time.Second, time.Second, &stepError{health.StepRequest, os.ErrDeadlineExceeded}},
		{time.Second, 0, &stepError{health.StepConnect, syscall.ECONNREFUSED}},
		{time.Second, 0, nil},
	} {
		var o health.Observation
		if noteLate(ctx, test.err, &o, func() time.Time { return deadline.Add(test.late) }); o.Late != test.want {
			t.Errorf("%v late, %v: noted %v, want %v", test.late, test.err, o.Late, test.want)
		}
	}
}
