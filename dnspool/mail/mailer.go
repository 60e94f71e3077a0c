package mail

import (
	"context"
	"errors"
	"fmt"
	"net/textproto"
	"reflect"
	"sync"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/config/failure"
)

// tick is how often a plan is made.
const tick = 30 * time.Second

// Options are what a Mailer works with.
type Options struct {
	Config *config.Mail                                        // nil: no mail is sent
	File   string                                              // where the state is saved; "": nowhere
	View   func(since time.Time) View                          // with what has ended since then; zero: within a day
	Send   func(context.Context, *config.Mail, *Message) error // nil: [Send]
	Log    *zap.Logger
}

// A Mailer sends mails.
type Mailer struct {
	o Options

	mu       sync.Mutex // guards all below
	config   *config.Mail
	state    state
	failures int       // to send any mail, in a row
	retry    time.Time // when to try again to send any
	problem  string    // why the latest attempt to send failed, or ""
	sending  failure.Last
	saving   failure.Last
}

// New returns a Mailer, with what an earlier run has saved.
func New(o Options) *Mailer {
	if o.Send == nil {
		o.Send = Send
	}
	return &Mailer{o: o, config: o.Config, state: load(o.File, o.Log)}
}

// SetConfig puts another configuration in force; nil: no mail is sent.
func (m *Mailer) SetConfig(c *config.Mail) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.config, m.failures, m.retry = c, 0, time.Time{}
	for i := range m.state.Queue { // what was wrong may have been mended
		m.state.Queue[i].Retry = time.Time{}
	}
}

// Run plans and sends mails until ctx ends.
func (m *Mailer) Run(ctx context.Context) error {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			m.step(ctx)
		}
	}
}

// step makes a plan, and sends what waits.
func (m *Mailer) step(ctx context.Context) {
	view := m.view()
	if view.Starting {
		return
	}
	m.mu.Lock()
	if m.config != nil {
		m.plan(&view)
	}
	m.mu.Unlock()
	for m.sendNext(ctx, &view) {
	}
}

// view returns what mails may be about now.
func (m *Mailer) view() View {
	m.mu.Lock()
	since := m.state.Memory.since()
	m.mu.Unlock()
	return m.o.View(since)
}

// plan queues what is to be sent. It is saved before it is sent: a mail that is sent twice is seen as one by its
// Message-ID. m.mu is held.
func (m *Mailer) plan(view *View) {
	messages, next := m.state.Memory.plan(m.config, view)
	dropped := m.state.bound(view.Now)
	if len(messages)+dropped == 0 && reflect.DeepEqual(next, m.state.Memory) {
		return
	}
	m.state.Memory = next
	m.state.add(messages)
	if dropped += m.state.bound(view.Now); dropped > 0 {
		m.o.Log.Error("mails were dropped: they have waited too long, or are too many", zap.Int("mails", dropped))
	}
	m.save()
}

// save saves the state. m.mu is held.
func (m *Mailer) save() {
	err := m.state.save(m.o.File)
	if m.saving.IsNew(err) {
		m.o.Log.Warn("cannot save the state of mail", zap.Error(err))
	}
}

// sendNext sends the first mail that is due. It reports whether there may be more to send now. It and plan, which one
// goroutine calls, are alone in adding to the queue and taking from it.
func (m *Mailer) sendNext(ctx context.Context, view *View) bool {
	m.mu.Lock()
	c, k := m.config, m.state.due(view.Now)
	if c == nil || k < 0 || view.Now.Before(m.retry) || ctx.Err() != nil {
		m.mu.Unlock()
		return false
	}
	next := m.state.Queue[k].address(c, view)
	m.mu.Unlock()

	err := m.o.Send(ctx, c, &next)

	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil && ctx.Err() != nil {
		return false // it is sent after the next start
	}
	m.report(&next, err)
	if err != nil && scopeOf(err) == allMails {
		m.failures++
		m.retry = view.Now.Add(pause(m.failures))
		return false
	}
	m.failures, m.retry = 0, time.Time{}
	m.state.settle(k, &next, c.Team, err, view.Now)
	m.save()
	var response *textproto.Error
	return err == nil || errors.As(err, &response) // else the server may hang at the next one, too
}

// report logs how it went to send a mail. m.mu is held.
func (m *Mailer) report(sent *Message, err error) {
	fields := []zap.Field{zap.String("to", sent.To), zap.String("subject", sent.Subject)}
	m.problem = ""
	if err == nil {
		m.o.Log.Info("mail sent", fields...)
	} else {
		m.problem = err.Error()
	}
	if m.sending.IsNew(err) || err != nil && scopeOf(err) == forGood {
		m.o.Log.Error("cannot send mail", append(fields, zap.Error(err))...)
	}
}

// Status is what there is to say of mail.
type Status struct {
	Configured bool      `json:"configured"`
	Quiet      string    `json:"quiet"`   // why nothing new is planned now, or ""
	Problem    string    `json:"problem"` // why the latest attempt to send failed, or ""
	Waiting    []Message `json:"waiting"`
	Planned    []Message `json:"planned"` // what would be queued now
}

// Status returns what waits to be sent, and what would be sent now. Nothing changes.
func (m *Mailer) Status() Status {
	view := m.view()
	m.mu.Lock()
	defer m.mu.Unlock()
	s := Status{
		Configured: m.config != nil, Quiet: view.Quiet, Problem: m.problem,
		Waiting: []Message{}, Planned: []Message{},
	}
	for i := range m.state.Queue {
		waits := &m.state.Queue[i].Message
		if m.config != nil && !view.Starting {
			addressed := waits.address(m.config, &view)
			waits = &addressed
		}
		s.Waiting = append(s.Waiting, *waits)
	}
	if m.config != nil {
		planned, _ := m.state.Memory.plan(m.config, &view)
		s.Planned = append(s.Planned, planned...)
	}
	return s
}

// Test sends a mail to the team at once.
func (m *Mailer) Test(ctx context.Context) error {
	m.mu.Lock()
	c := m.config
	m.mu.Unlock()
	if c == nil {
		return errors.New("mail is not configured: see the section mail of the configuration")
	}
	view := m.view()
	return m.o.Send(ctx, c, &Message{
		ID: messageID(c, &Mirror{}, "test", view.Now), To: c.Team, Planned: view.Now, Subject: subject(&view, "a test"),
		Text: fmt.Sprintf("This is a test of mirrorpool, which writes to %s about mirrors in trouble.\n", c.Team),
	})
}
