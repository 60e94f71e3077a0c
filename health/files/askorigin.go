package files

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"
)

const (
	originFor    = 30 * time.Second // how long an answer of the origin is kept
	maxOrigins   = 10_000           // paths of which the origin's answer is kept
	maxOriginAsk = 16               // questions to the origin under way

	// So often the origin is asked for paths in a second, whatever clients ask for: if it is a folder, or on the
	// network.
	folderRate, networkRate = 200, 10
)

// ErrCannotAsk is why nothing is known of a path at the origin.
var ErrCannotAsk = errors.New("the origin cannot be asked for a path")

// ErrOriginBusy is why the origin is not asked for a path now: it has been asked often enough.
var ErrOriginBusy = errors.New("the origin has been asked for many paths just now")

// originAnswers keep what the origin has said of paths that the universe lacks.
type originAnswers struct {
	mu    sync.Mutex
	known map[uint64]*originAnswer
	under int // questions under way
	spent budget
}

// An originAnswer is what the origin said of one path.
type originAnswer struct {
	done  chan struct{} // closed once it is there
	err   error
	until time.Time
}

// Publishes asks the origin for a path that the universe lacks: whether it was published just now. The error is
// fs.ErrNotExist if it was not, ErrOriginBusy if it may be asked again soon, or another if nothing is known.
func (c *Catalog) Publishes(ctx context.Context, path string) error {
	c.mu.Lock()
	origin, running := c.settings.Origin, c.running
	c.mu.Unlock()
	if !running {
		return ErrCannotAsk
	}
	rate := folderRate
	if strings.Contains(origin, "://") {
		rate = networkRate
	}
	a, mine := c.origins.begin(hashPath(path), c.Now(), rate)
	if a == nil {
		return ErrOriginBusy
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
		return ctx.Err()
	}
}

// begin returns the answer for a path, which is there or will be. mine is true if the caller is to ask for it. The
// answer is nil if too many questions are under way, or were asked within a second.
func (o *originAnswers) begin(hash uint64, now time.Time, rate int) (a *originAnswer, mine bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if a := o.known[hash]; a != nil && now.Before(a.until) {
		return a, false
	}
	if o.under == maxOriginAsk || !o.spent.spend(now, rate) {
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

// expectNews has the origin read soon: it has published something. Clients may ask for such files all the time: a read
// that takes long has its pause all the same.
func (c *Catalog) expectNews() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if soon := later(c.Now(), c.origin.read.Add(max(minPause, originShare*c.origin.took))); soon.Before(c.origin.due) {
		c.origin.due = soon
		c.hurry()
	}
}
