package health

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

const (
	maxInFlight = 512 // probes and look-ups under way at a time
	// addressRetry is how long a check waits if its address is being probed.
	addressRetry = 100 * time.Millisecond
)

// A task is something that the checker does again and again.
type task struct {
	due time.Time
	// work does it once, without the lock. The function that it returns is called under the lock to take in
	// what came of it; it returns when to do it again.
	work  func(context.Context) (finish func(now time.Time) (wait time.Duration))
	check *check // nil if it is no check

	done    bool // it has ended once
	dropped bool // it is no longer wanted

	index  int                // in the schedule, while it waits there
	cancel context.CancelFunc // stops it, while it is under way
}

// A schedule is a heap of the tasks that wait, the one that is due first on top.
type schedule []*task

// move makes t due at another time. It does nothing to a task that is under way, nor to nil.
func (s *schedule) move(t *task, due time.Time) {
	if t == nil || t.cancel != nil {
		return
	}
	t.due = due
	heap.Fix(s, t.index)
}

// Len, Less, Swap, Push and Pop are for package heap.

func (s schedule) Len() int           { return len(s) }
func (s schedule) Less(i, j int) bool { return s[i].due.Before(s[j].due) }
func (s schedule) Swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s[i].index, s[j].index = i, j
}

func (s *schedule) Push(x any) {
	t := x.(*task)
	t.index = len(*s)
	*s = append(*s, t)
}

func (s *schedule) Pop() any {
	last := len(*s) - 1
	t := (*s)[last]
	(*s)[last] = nil
	*s = (*s)[:last]
	return t
}

// Stalled reports whether the schedule has come to a halt: a check is overdue by several intervals.
func (c *Checker) Stalled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.tasks) > 0 && c.now().Sub(c.tasks[0].due) > verdictIntervals*c.policy.Interval+c.settings.Timeout
}

// Run checks the pool until ctx ends, and returns nil when all checks under way have ended too.
func (c *Checker) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(c.startDue(ctx, &running))
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-c.wake:
		}
	}
}

// startDue starts all tasks that are due and may run, and returns the time until it should be called again.
func (c *Checker) startDue(ctx context.Context, running *sync.WaitGroup) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	for len(c.tasks) > 0 && c.running < maxInFlight {
		next := c.tasks[0]
		if wait := next.due.Sub(now); wait > 0 {
			return wait
		}
		var at place // stays zero for what keeps no address busy
		if next.check != nil {
			at = next.check.place
		}
		if c.busy[at] {
			c.tasks.move(next, now.Add(addressRetry))
			continue
		}
		if at.address.IsValid() {
			c.busy[at] = true
		}
		heap.Pop(&c.tasks)
		c.running++
		taskCtx, cancel := context.WithCancel(ctx)
		next.cancel = cancel
		running.Go(func() {
			defer cancel()
			c.run(taskCtx, next, at)
		})
	}
	return c.policy.Interval // nothing is due, or the end of a task will wake us
}

// run runs one task and puts it back into the schedule.
func (c *Checker) run(ctx context.Context, t *task, at place) {
	finish := t.work(ctx)

	c.mu.Lock()
	defer c.mu.Unlock()
	c.running--
	delete(c.busy, at)
	notify(c.wake)
	if t.dropped || ctx.Err() != nil {
		return
	}
	now := c.now()
	wait := finish(now)
	if t.dropped {
		return
	}
	spread := 0.1
	if !t.done {
		spread = 0.5 // so that what began together drifts apart
		t.done = true
		c.first--
	}
	t.due = now.Add(time.Duration(float64(wait) * (1 - spread*c.rand.Float64())))
	t.cancel = nil
	heap.Push(&c.tasks, t)
	c.sweepEnds(now)
}

// sweepEnds ends the first sweep when no task is left that has not ended once.
func (c *Checker) sweepEnds(now time.Time) {
	if c.first > 0 || !c.sweeping {
		return
	}
	c.reconsider(now)
	c.sweeping = false
	c.memory = memory{}
	close(c.swept)
}

// add puts a new task into the schedule.
func (c *Checker) add(t *task) *task {
	c.first++
	heap.Push(&c.tasks, t)
	return t
}

// drop takes a task out of the schedule, and cancels it if it is under way. A nil task is none.
func (c *Checker) drop(t *task) {
	if t == nil || t.dropped {
		return
	}
	t.dropped = true
	if !t.done {
		c.first--
	}
	if t.cancel != nil {
		t.cancel()
		return
	}
	heap.Remove(&c.tasks, t.index)
}

// notify leaves a token in ch unless there is one.
func notify(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
