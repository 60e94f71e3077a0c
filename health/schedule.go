package health

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

const (
	maxInFlight = 512 // visits to mirrors, and look-ups, under way at a time
	// busyRetry is how long a check waits if its address is being probed for another mirror.
	busyRetry = 100 * time.Millisecond
	// visitWindow is how much earlier than due a check may be, as a share of the interval, to go along with a visit.
	visitWindow = 0.1
)

// A task is something that the checker does again and again.
type task struct {
	due time.Time
	// work does it once, without the lock. The function that it returns is called under the lock to take in
	// what came of it, which must not drop the task itself; it returns when to do it again.
	work  func(context.Context) (finish func(now time.Time) (wait time.Duration))
	check *check // nil if it is no check
	place place  // where it is under way

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

// A visit is what is under way at one mirror host: probes in all roles, at all addresses, that were due together. It takes
// one of the places in flight, and the host's next visit waits for its end, so that no mirror ever has more of us at its
// door than that. What fails at one address or in one role thereby costs the others no more than the wait.
type visit struct {
	host    string  // empty for a look-up or the reference, which visit no mirror
	left    int     // tasks that have not ended
	waiting []*task // those that became due meanwhile, and go on when it ends
	hasten  float64 // share of the spread by which its tasks are due earlier; the same for all, so that they stay together
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
		if before := c.visits[next.host()]; before != nil {
			before.waiting = append(before.waiting, next)
			c.tasks.move(next, now.Add(c.policy.Interval))
			continue
		}
		together := c.together(next, now)
		if len(together) == 0 {
			c.tasks.move(next, now.Add(busyRetry))
			continue
		}
		v := &visit{host: next.host(), left: len(together), hasten: c.rand.Float64()}
		if v.host != "" {
			c.visits[v.host] = v
		}
		c.running++
		for _, t := range together {
			heap.Remove(&c.tasks, t.index)
			taskCtx, cancel := context.WithCancel(ctx)
			t.cancel = cancel
			running.Go(func() {
				defer cancel()
				c.run(taskCtx, t, v)
			})
		}
	}
	return c.policy.Interval // nothing is due, or the end of a task will wake us
}

// together returns the tasks to start with one that is due: those at the same mirror that are due within visitWindow. It
// returns none if that has to wait for another mirror's at the same address.
func (c *Checker) together(due *task, now time.Time) []*task {
	if due.check == nil {
		return []*task{due}
	}
	if !c.occupy(due) {
		return nil
	}
	tasks := []*task{due}
	soon := now.Add(time.Duration(visitWindow * float64(c.policy.Interval)))
	for k := range due.check.mirror.all {
		if t := k.task; t != due && !t.due.After(soon) && c.occupy(t) {
			tasks = append(tasks, t)
		}
	}
	return tasks
}

// occupy makes a check's place busy, or reports that it is already.
func (c *Checker) occupy(t *task) bool {
	t.place = t.check.place // the check may get another one meanwhile
	if !t.place.address.IsValid() {
		return true
	}
	if c.busy[t.place] {
		return false
	}
	c.busy[t.place] = true
	return true
}

// host is which host a task visits, or "".
func (t *task) host() string {
	if t.check == nil {
		return ""
	}
	return t.check.mirror.web.host
}

// run runs one task of a visit and puts it back into the schedule.
func (c *Checker) run(ctx context.Context, t *task, v *visit) {
	finish := t.work(ctx)

	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.busy, t.place)
	defer c.leave(v)
	if t.dropped || ctx.Err() != nil {
		return
	}
	now := c.now()
	wait := finish(now)
	spread := 0.1
	if !t.done {
		spread = 0.5 // so that what began together drifts apart
		t.done = true
		c.first--
	}
	t.due = now.Add(time.Duration(float64(wait) * (1 - spread*v.hasten)))
	t.cancel = nil
	heap.Push(&c.tasks, t)
	c.sweepEnds(now)
}

// leave ends a task's part in a visit. What has waited for the end of the visit is due now.
func (c *Checker) leave(v *visit) {
	defer notify(c.wake)
	if v.left--; v.left > 0 {
		return
	}
	c.running--
	delete(c.visits, v.host)
	now := c.now()
	for _, t := range v.waiting {
		if !t.dropped {
			c.tasks.move(t, now)
		}
	}
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
