package files

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"net/url"
	"time"
)

const (
	// AskTime bounds the wait of a client for answers of mirrors and of the origin.
	AskTime = time.Second
	// MaxAsked is how many mirrors are asked side by side for a client.
	MaxAsked = 3

	headTime    = 2 * time.Second // time-out of one HEAD; a late answer is kept for later requests
	askPatience = time.Second / maxQuestion
	// askGrace bounds the wait for a mirror that is the best for a client, while others are known to carry the file.
	askGrace = 200 * time.Millisecond
)

// ErrBusy is why a mirror does not say whether it has a file: it limits how often it may be asked.
var ErrBusy = errors.New("the mirror is busy")

// ErrRefused is why clients do not get a file from a mirror that may have it.
var ErrRefused = errors.New("the mirror refuses the file")

// For so long a busy mirror is left alone, and one that gives no answer within headTime.
const busyFor, hungFor = time.Minute, 30 * time.Second

// A Candidate is a mirror that may be asked for a file.
type Candidate struct {
	Number int
	URL    string     // of the file
	Addr   netip.Addr // where the mirror is asked
}

// Ask asks mirrors for the file at a path until one says that it carries the file, all have answered, or ctx ends. next
// returns those to ask next, the best first, and none if no other is left. [MaxAsked] are asked side by side, and more
// where these are slow. A mirror that has been asked enough for now is asked when it may be.
func (c *Catalog) Ask(ctx context.Context, path string, next func() []Candidate) {
	i := c.newInquiry(path, next)
	i.run(ctx, func(mirror int) bool { return Contains(c.Find(path, c.Now()).Has, mirror) })
}

// AskEach asks mirrors for the file at a path. It returns when all have answered, or ctx ends.
func (c *Catalog) AskEach(ctx context.Context, path string, candidates []Candidate) {
	i := c.newInquiry(path, func() []Candidate { return nil })
	i.queue = candidates
	i.run(ctx, func(int) bool { return false })
}

// AskBriefly is Ask for a file that other mirrors are known to carry: it waits a moment only, and not for mirrors that
// have been asked enough for now.
func (c *Catalog) AskBriefly(ctx context.Context, path string, candidates []Candidate) {
	ctx, cancel := context.WithTimeout(ctx, askGrace)
	defer cancel()
	i := c.newInquiry(path, func() []Candidate { return nil })
	i.queue, i.hasty = candidates, true
	i.run(ctx, func(mirror int) bool { return Contains(c.Find(path, c.Now()).Has, mirror) })
}

// AskAside asks mirrors for the file at a path, and does not wait for their answers. It reports whether one may be
// worth waiting for.
func (c *Catalog) AskAside(path string, candidates []Candidate) (underWay bool) {
	if !c.asks.Load() {
		return false
	}
	for _, candidate := range candidates {
		underWay = c.question(path, candidate, false, nil) == asked || underWay
	}
	return underWay
}

// An inquiry asks mirrors for a file, for one client.
type inquiry struct {
	*Catalog
	path    string
	next    func() []Candidate
	queue   []Candidate // to ask
	spent   []Candidate // that have been asked enough for now
	hasty   bool        // these are not waited for
	free    int         // how many more may be asked now
	waiting int         // for so many answers
	answers chan int    // numbers of mirrors that have answered
}

func (c *Catalog) newInquiry(path string, next func() []Candidate) *inquiry {
	answers := make(chan int, len(c.table.Load().rows)+MaxAsked)
	return &inquiry{Catalog: c, path: path, next: next, free: MaxAsked, answers: answers}
}

// run asks until enough of a mirror's answer, until nothing is left to wait for, or until ctx ends.
func (i *inquiry) run(ctx context.Context, enough func(mirror int) bool) {
	if !i.asks.Load() {
		return
	}
	ticker := time.NewTicker(askPatience)
	defer ticker.Stop()
	for i.ask() {
		select {
		case mirror := <-i.answers:
			i.waiting--
			i.free = min(i.free+1, MaxAsked)
			if enough(mirror) {
				return
			}
		case <-ticker.C: // those that were asked are slow, and others may be asked again
			i.free = MaxAsked
			i.queue, i.spent = append(i.spent, i.queue...), nil
		case <-ctx.Done():
			return
		}
	}
}

// ask asks as many mirrors as may be asked now, and reports whether there is anything to wait for.
func (i *inquiry) ask() bool {
	for i.free > 0 {
		if len(i.queue) == 0 {
			i.queue = i.next()
		}
		if len(i.queue) == 0 {
			break
		}
		candidate := i.queue[0]
		i.queue = i.queue[1:]
		switch i.question(i.path, candidate, false, i.answers) {
		case asked:
			i.waiting++
			i.free--
		case slow:
			if !i.hasty {
				i.waiting++
			}
		case spent:
			if !i.hasty {
				i.spent = append(i.spent, candidate)
			}
		}
	}
	return i.waiting > 0 || len(i.spent) > 0
}

// question begins to ask a mirror for a file. again asks although there is an answer. The mirror's number is sent to
// notify with the answer, if the question is under way and notify is not nil.
func (c *Catalog) question(path string, candidate Candidate, again bool, notify chan<- int) progress {
	if !candidate.Addr.IsValid() {
		return settled
	}
	q := question{hashPath(path), candidate.Number}
	state := c.answers.begin(q, c.table.Load().trace(q.mirror), c.Now(), again, notify)
	if state != begun {
		return state
	}
	c.goAsk(func(ctx context.Context) {
		began := c.Now()
		u, err := url.Parse(candidate.URL)
		var size int64
		if err == nil {
			size, err = c.Head(ctx, u, candidate.Addr)
		}
		c.answered(q, began, size, err)
	})
	return asked
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

// answered takes in what a mirror has said, when it was asked at a time.
func (c *Catalog) answered(q question, asked time.Time, size int64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.Now()
	number, published := c.universe.find(q.path)
	switch {
	case errors.Is(err, ErrBusy):
		c.answers.leaveAlone(q.mirror, now.Add(busyFor))
	case errors.Is(err, context.DeadlineExceeded):
		c.answers.leaveAlone(q.mirror, now.Add(hungFor))
	}
	r := c.resultOf(number, published, size, err)
	var trace int64
	if m := c.mirrors[q.mirror]; m != nil {
		trace = m.Trace.Unix()
		listed := published && m.row != nil && m.row.has.Contains(number)
		switch {
		case r != lacks || !listed || errors.Is(err, ErrRefused): // another listing would say the same
		case asked.Before(m.row.seen):
			r = mute // the mirror has got the file meanwhile
		default:
			c.miss(m, number, now)
		}
	}
	c.answers.end(q, r, trace, now, c.lackTimes(number, published))
	c.table.Load().forget(q.path)
	c.answers.finish(q)
}

// resultOf returns what it says of a file that a mirror has it in a size, or gives an error.
func (c *Catalog) resultOf(number uint32, published bool, size int64, err error) result {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, ErrRefused):
		return lacks
	case err != nil:
		return mute
	case published && size >= 0 && c.settings.Origin != "" && !c.universe.files[number].fits(size):
		return lacks
	}
	return carries
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
	if c.asks.Load() {
		c.question(path, candidate, true, nil)
	}
}
