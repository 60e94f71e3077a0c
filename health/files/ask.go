package files

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"net/url"
	"sync"
	"time"
)

const (
	// AskTime bounds the wait of a client for answers of mirrors and of the origin.
	AskTime = time.Second

	headTime     = 2 * time.Second // for one question; its answer serves the next client
	originFor    = 30 * time.Second
	maxOrigins   = 10_000 // paths of which the origin's answer is kept
	maxOriginAsk = 16     // questions to the origin under way
)

// ErrBusy is why a mirror does not say whether it has a file: it limits how often it may be asked.
var ErrBusy = errors.New("the mirror is busy")

// busyFor is how long a busy mirror is left alone.
const busyFor = time.Minute

// ErrCannotAsk is why nothing is known of a path at the origin.
var ErrCannotAsk = errors.New("the origin cannot be asked for a path")

// A Candidate is a mirror that may be asked for a file.
type Candidate struct {
	Number int
	URL    string     // of the file
	Addr   netip.Addr // where the mirror is asked
}

// MaxAsked is how many mirrors are asked side by side.
const MaxAsked = 3

// askGrace is how long a mirror that comes first may take longer than another one that carries the file.
const askGrace = 200 * time.Millisecond

// Ask asks mirrors for the file at a path, side by side, the best one first and [MaxAsked] of them at most. It returns when
// the first of them has said that it carries the file, or soon after another one has; when all have answered; or when ctx ends.
// asked is false if no mirror was asked.
func (c *Catalog) Ask(ctx context.Context, path string, candidates []Candidate) (asked bool) {
	if !c.onDemand() {
		return false
	}
	var done [MaxAsked]<-chan struct{}
	left := 0
	for i := range candidates[:min(len(candidates), MaxAsked)] {
		if under := c.question(path, candidates[i], false); under != nil {
			done[i] = under.done
			left++
		}
	}
	asked = left > 0
	var grace <-chan time.Time
	for ; left > 0; left-- {
		i := 0
		select {
		case <-done[0]:
		case <-done[1]:
			i = 1
		case <-done[2]:
			i = 2
		case <-grace:
			return asked
		case <-ctx.Done():
			return asked
		}
		done[i] = nil
		if !Contains(c.Find(path, c.Now()).Has, candidates[i].Number) {
			continue
		}
		if i == 0 {
			return asked
		}
		if grace == nil {
			grace = time.After(askGrace)
		}
	}
	return asked
}

// AskEach asks mirrors for the file at a path, side by side. It returns when all have answered, or ctx ends.
func (c *Catalog) AskEach(ctx context.Context, path string, candidates []Candidate) {
	if !c.onDemand() {
		return
	}
	var asked []*asked
	for i := range candidates {
		if under := c.question(path, candidates[i], false); under != nil {
			asked = append(asked, under)
		}
	}
	for _, under := range asked {
		select {
		case <-under.done:
		case <-ctx.Done():
			return
		}
	}
}

// onDemand reports whether mirrors may be asked: that ends with Run.
func (c *Catalog) onDemand() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.settings.OnDemand && c.running
}

// question begins to ask a mirror for a file, and returns nil if there is nothing to wait for. again asks although there is
// an answer.
func (c *Catalog) question(path string, candidate Candidate, again bool) *asked {
	u, err := url.Parse(candidate.URL)
	if err != nil || !candidate.Addr.IsValid() {
		return nil
	}
	q := question{hashPath(path), candidate.Number}
	under, mine := c.answers.begin(q, c.table.Load().trace(q.mirror), c.Now(), again)
	if !mine {
		return under
	}
	c.goAsk(func(ctx context.Context) {
		asked := c.Now()
		size, err := c.Head(ctx, u, candidate.Addr)
		c.answered(q, asked, size, err)
	})
	return under
}

// goAsk asks a question in a goroutine for which Run waits. If Run has ended, the question fails at once.
func (c *Catalog) goAsk(ask func(context.Context)) {
	limited := func() {
		ctx, cancel := context.WithTimeout(c.base, headTime)
		defer cancel()
		ask(ctx)
	}
	c.mu.Lock()
	running := c.running
	if running {
		c.asking.Go(limited)
	}
	c.mu.Unlock()
	if !running { // base has ended
		limited()
	}
}

// expectNews has the origin read soon: it has published something.
func (c *Catalog) expectNews() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if soon := later(c.Now(), c.origin.read.Add(minPause)); soon.Before(c.origin.due) {
		c.origin.due = soon
		c.hurry()
	}
}

// answered takes in what a mirror has said, when it was asked at a time.
func (c *Catalog) answered(q question, asked time.Time, size int64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, now := mute, c.Now()
	number, published := c.universe.find(q.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r = lacks
	case errors.Is(err, ErrBusy):
		c.answers.leaveAlone(q.mirror, now.Add(busyFor))
	case err != nil:
	case published && size >= 0 && c.settings.Origin != "" && !c.universe.files[number].fits(size):
		r = lacks
	default:
		r = carries
	}
	var trace int64
	if m := c.mirrors[q.mirror]; m != nil {
		trace = m.Trace.Unix()
		if r == lacks && published && m.row != nil && m.row.has.Contains(number) {
			if asked.Before(m.row.seen) {
				r = mute // the mirror has got the file meanwhile
			} else {
				c.miss(m, number, now)
			}
		}
	}
	c.answers.end(q, r, trace, now, c.lackTimes(number, published))
	c.table.Load().forget(q.path)
	c.answers.finish(q)
}

// fits reports whether a copy of so many bytes may be of a file.
func (f *file) fits(size int64) bool {
	return f.kind == folder || f.size == unknownSize || f.size == size
}

// miss takes in that a mirror's web server lacks a file which its listing had.
func (c *Catalog) miss(m *mirror, number uint32, now time.Time) {
	m.row = m.row.without(number)
	m.plan.pull(later(now, m.plan.tried.Add(min(maxPause, c.settings.Interval/10))), true)
	c.hurry()
	c.publish()
}

// WantsSample reports whether a mirror should be asked for a file that a client was just sent to: once a second.
func (c *Catalog) WantsSample(now time.Time) bool {
	last, second := c.sampled.Load(), now.Unix()
	return second != last && c.sampled.CompareAndSwap(last, second)
}

// Verify asks a mirror for a file that it is known to carry.
func (c *Catalog) Verify(path string, candidate Candidate) {
	if c.onDemand() {
		c.question(path, candidate, true)
	}
}

// originAnswers keep what the origin has said of paths that the universe lacks.
type originAnswers struct {
	mu    sync.Mutex
	known map[uint64]*originAnswer
	under int // questions under way
}

// An originAnswer is what the origin said of one path.
type originAnswer struct {
	done  chan struct{} // closed once it is there
	err   error
	until time.Time
}

// Publishes asks the origin for a path that the universe lacks: whether it was published just now. The error is
// fs.ErrNotExist if it was not, or another if nothing is known.
func (c *Catalog) Publishes(ctx context.Context, path string) error {
	c.mu.Lock()
	origin, running := c.settings.Origin, c.running
	c.mu.Unlock()
	if !running {
		return ErrCannotAsk
	}
	a, mine := c.origins.begin(hashPath(path), c.Now())
	if a == nil {
		return ErrCannotAsk
	}
	if mine {
		c.goAsk(func(ctx context.Context) {
			a.err = c.AskOrigin(ctx, origin, path)
			c.origins.end(a)
			if a.err == nil {
				c.expectNews()
			}
		})
	}
	select {
	case <-a.done:
		return a.err
	case <-ctx.Done():
		return ErrCannotAsk
	}
}

// begin returns the answer for a path, which is there or will be. mine is true if the caller is to ask for it. The answer is
// nil if too many questions are under way.
func (o *originAnswers) begin(hash uint64, now time.Time) (a *originAnswer, mine bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if a := o.known[hash]; a != nil && now.Before(a.until) {
		return a, false
	}
	if o.under == maxOriginAsk {
		return nil, false
	}
	o.under++
	if o.known == nil {
		o.known = map[uint64]*originAnswer{}
	}
	for other := range o.known { // in no order
		if len(o.known) < maxOrigins {
			break
		}
		delete(o.known, other)
	}
	a = &originAnswer{done: make(chan struct{}), until: now.Add(originFor)}
	o.known[hash] = a
	return a, true
}

func (o *originAnswers) end(a *originAnswer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.under--
	close(a.done)
}
