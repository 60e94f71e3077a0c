package files

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	originFor    = 30 * time.Second
	maxOrigins   = 10_000 // paths of which the origin's answer is kept
	maxOriginAsk = 16     // questions to the origin under way
)

// ErrCannotAsk is why nothing is known of a path at the origin.
var ErrCannotAsk = errors.New("the origin cannot be asked for a path")

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

// expectNews has the origin read soon: it has published something.
func (c *Catalog) expectNews() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if soon := later(c.Now(), c.origin.read.Add(minPause)); soon.Before(c.origin.due) {
		c.origin.due = soon
		c.hurry()
	}
}
