package probe

import (
	"crypto/tls"
	"errors"
	"net/http/httptrace"
	"sync"
	"time"

	"mirrorpool/health"
)

// progress follows a request to say how long each step took, and in which step an error happened. A time-out does not
// say that by itself.
type progress struct {
	now func() time.Time

	mu      sync.Mutex // the transport's goroutines may outlive a request
	step    string
	started time.Time // of step
	asked   bool      // the request was sent
	took    health.Timings
}

// enter begins a step. What the one before took is added up at took, unless that is nil.
func (p *progress) enter(step string, took *time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if took != nil {
		*took += now.Sub(p.started)
	}
	p.step, p.started = step, now
}

func (p *progress) hooks() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GetConn:              func(string) { p.enter(health.StepConnect, nil) },
		ConnectDone:          func(_, _ string, err error) { p.connected(err) },
		TLSHandshakeStart:    func() { p.enter(health.StepTLS, nil) },
		TLSHandshakeDone:     func(_ tls.ConnectionState, err error) { p.handshakeDone(err) },
		GotConn:              func(httptrace.GotConnInfo) { p.enter(health.StepRequest, nil) },
		WroteRequest:         func(httptrace.WroteRequestInfo) { p.sent() },
		GotFirstResponseByte: func() { p.enter(health.StepRequest, &p.took.FirstByte) },
	}
}

func (p *progress) connected(err error) {
	if err == nil {
		p.enter(health.StepConnect, &p.took.Connect)
	}
}

// handshakeDone ends the TLS handshake. A failure is still its own, so the step is not left before GotConn.
func (p *progress) handshakeDone(err error) {
	if err == nil {
		p.enter(health.StepTLS, &p.took.TLS)
	}
}

func (p *progress) sent() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = true
}

// end returns what was measured.
func (p *progress) end() health.Timings {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.took
}

// blame adds to err the step in which the request is, unless err names one.
func (p *progress) blame(err error) error {
	var known *stepError
	if errors.As(err, &known) {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.step == health.StepRequest && !p.asked {
		err = &spokeFirst{err}
	}
	return &stepError{p.step, err}
}

// A spokeFirst is an error from before the request was sent: the server hung up, or
// spoke before it was asked. net/http has no error value for either.
type spokeFirst struct{ err error }

func (e *spokeFirst) Error() string { return "the server hung up or spoke before it was asked" }
func (e *spokeFirst) Unwrap() error { return e.err }

func addTimings(t *health.Timings, more health.Timings) {
	t.Connect += more.Connect
	t.TLS += more.TLS
	t.FirstByte += more.FirstByte
}
