package health

import (
	"context"
	"sync"
	"time"
)

// visitAgain is when a visit of others would be made again, if it did not end before.
const visitAgain = 24 * time.Hour

// CheckSoon has all endpoints of a mirror checked now: something else says that they are not what they were.
func (c *Checker) CheckSoon(urlPrefix string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m := c.mirrors[urlPrefix]; m != nil {
		c.expedite(m, c.now())
		signal(c.wake)
	}
}

// Visit waits until no check is under way at the host of a mirror. Further ones wait until the returned function is
// called, but not for longer than an interval: then they go on beside the visit. ok is false if there is no such
// mirror, or ctx ends before.
func (c *Checker) Visit(ctx context.Context, urlPrefix string) (end func(), ok bool) {
	began, ended := make(chan struct{}), make(chan struct{})
	var begin, finish sync.Once
	c.mu.Lock()
	m := c.mirrors[urlPrefix]
	if m == nil {
		c.mu.Unlock()
		return nil, false
	}
	limit := c.policy.Interval
	t := c.schedule.add(&task{due: c.now(), host: m.web.host, work: func(ctx context.Context) func(time.Time) time.Duration {
		begin.Do(func() { close(began) })
		select {
		case <-ended:
		case <-time.After(limit):
		case <-ctx.Done():
		}
		return func(time.Time) time.Duration { return visitAgain }
	}})
	c.mu.Unlock()
	signal(c.wake)
	end = func() {
		finish.Do(func() { close(ended) })
		c.mu.Lock()
		defer c.mu.Unlock()
		c.schedule.drop(t)
	}
	select {
	case <-began:
		return end, true
	case <-ctx.Done():
		end()
		return nil, false
	}
}
