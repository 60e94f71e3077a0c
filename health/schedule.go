package health

import (
	"container/heap"
	"context"
	"iter"
	"math/rand/v2"
	"runtime"
	"time"
)

const (
	maxInFlight = 512 // visits to mirrors, look-ups and reference reads under way at a time
	// As many of these as there are CPUs for this process may start within startPause. Each takes a third of a
	// millisecond of a CPU. If hundreds start at once, as when many mirrors are new, answers to clients wait behind them.
	startPause = time.Millisecond
	// busyRetry is how long a task waits if its endpoint is being probed for another mirror.
	busyRetry = 100 * time.Millisecond
	// visitWindow is how much earlier than due a task may start to join a visit, as a share of the interval.
	visitWindow = 0.1
	// A task starts up to this share of its wait early; up to firstJitterShare the first time, so that tasks that began
	// together drift apart.
	jitterShare, firstJitterShare = 0.1, 0.5
)

// A task is work that is done again and again.
type task struct {
	due time.Time
	// work runs once, without the lock. The function that it returns runs under the lock, takes in the result and returns
	// when to run again. It must not drop the task itself.
	work func(context.Context) (finish func(now time.Time) (wait time.Duration))

	host     string          // of the mirror that it visits, or ""
	endpoint *endpointKey    // that it probes; may change between visits; nil if none
	siblings iter.Seq[*task] // of the same mirror, which may join its visit; may include the task; nil if none

	done     bool               // it has ended once
	dropped  bool               // it is no longer wanted
	index    int                // in the heap, while it waits there
	occupied endpointKey        // what it was last to probe
	cancel   context.CancelFunc // stops it, while it is under way
}

// A schedule says which tasks are to start when. It starts none itself, and knows no verdicts.
type schedule struct {
	interval time.Duration // between checks
	rand     *rand.Rand    // for jitter

	waiting  taskHeap
	visits   map[string]*visit    // under way, by host
	busy     map[endpointKey]bool // being probed
	inFlight int                  // visits, look-ups and reference reads under way
	mayStart int                  // within startPause
	started  int                  // since countedFrom, for less than startPause
	newTasks int                  // tasks that have not ended once

	countedFrom time.Time // see started
}

// A visit is a batch of tasks under way at one mirror host: probes in all roles, at all addresses, that were due
// together. It counts once towards maxInFlight. The host's next visit waits until it ends, so a host never sees more
// concurrent probes than one visit has. A failing probe can delay the others of its visit, nothing more.
type visit struct {
	host     string // empty for a look-up or a reference read, which visit no mirror
	tasks    []*task
	left     int     // tasks that have not ended
	deferred []*task // that became due meanwhile, and start when it ends
	jitter   float64 // from 0 to 1, one for all its tasks, so that they stay together
}

func newSchedule(random *rand.Rand) schedule {
	return schedule{
		rand: random, visits: map[string]*visit{}, busy: map[endpointKey]bool{},
		mayStart: min(runtime.NumCPU(), runtime.GOMAXPROCS(0)),
	}
}

// add schedules a new task.
func (s *schedule) add(t *task) *task {
	s.newTasks++
	heap.Push(&s.waiting, t)
	return t
}

// move changes when t is due. It does nothing to a task that is under way, or to nil.
func (s *schedule) move(t *task, due time.Time) {
	if t == nil || t.cancel != nil {
		return
	}
	t.due = due
	heap.Fix(&s.waiting, t.index)
}

// drop removes a task, and cancels it if it is under way. It does nothing to nil.
func (s *schedule) drop(t *task) {
	if t == nil || t.dropped {
		return
	}
	t.dropped = true
	if !t.done {
		s.newTasks--
	}
	if t.cancel != nil {
		t.cancel()
		return
	}
	heap.Remove(&s.waiting, t.index)
}

// next returns a visit to start now, or nil and the time until next should be called again. The caller sets cancel of
// each task of the visit.
func (s *schedule) next(now time.Time) (v *visit, wait time.Duration) {
	if since := now.Sub(s.countedFrom); since < 0 || since >= startPause {
		s.countedFrom, s.started = now, 0
	}
	for len(s.waiting) > 0 && s.inFlight < maxInFlight {
		t := s.waiting[0]
		if wait := t.due.Sub(now); wait > 0 {
			return nil, wait
		}
		if s.started >= s.mayStart {
			return nil, s.countedFrom.Add(startPause).Sub(now)
		}
		if before := s.visits[t.host]; before != nil {
			before.deferred = append(before.deferred, t)
			s.move(t, now.Add(s.interval))
			continue
		}
		batch := s.batch(t, now)
		if len(batch) == 0 {
			s.move(t, now.Add(busyRetry))
			continue
		}
		return s.begin(batch), 0
	}
	return nil, s.interval // nothing is due, or the end of a task will wake the caller
}

// batch returns the tasks to start with t, which is due: t and its siblings that are due within visitWindow. It returns
// none if t's endpoint is busy.
func (s *schedule) batch(t *task, now time.Time) []*task {
	if !s.occupy(t) {
		return nil
	}
	batch := []*task{t}
	if t.siblings == nil {
		return batch
	}
	soon := now.Add(time.Duration(visitWindow * float64(s.interval)))
	for other := range t.siblings {
		if other != t && !other.due.After(soon) && s.occupy(other) {
			batch = append(batch, other)
		}
	}
	return batch
}

// occupy marks a task's endpoint as busy, or returns false if it is already.
func (s *schedule) occupy(t *task) bool {
	if t.endpoint == nil {
		return true
	}
	t.occupied = *t.endpoint
	if !t.occupied.address.IsValid() {
		return true
	}
	if s.busy[t.occupied] {
		return false
	}
	s.busy[t.occupied] = true
	return true
}

// begin makes a visit of tasks that wait.
func (s *schedule) begin(tasks []*task) *visit {
	v := &visit{host: tasks[0].host, tasks: tasks, left: len(tasks), jitter: s.rand.Float64()}
	if v.host != "" {
		s.visits[v.host] = v
	}
	s.inFlight++
	s.started++
	for _, t := range tasks {
		heap.Remove(&s.waiting, t.index)
	}
	return v
}

// repeat schedules a task of a visit again, after about wait.
func (s *schedule) repeat(t *task, v *visit, now time.Time, wait time.Duration) {
	share := jitterShare
	if !t.done {
		share = firstJitterShare
		t.done = true
		s.newTasks--
	}
	t.due = now.Add(time.Duration(float64(wait) * (1 - share*v.jitter)))
	t.cancel = nil
	heap.Push(&s.waiting, t)
}

// end ends a task's part in a visit. When the visit ends, the tasks that waited for it are due.
func (s *schedule) end(t *task, v *visit, now time.Time) {
	delete(s.busy, t.occupied)
	if v.left--; v.left > 0 {
		return
	}
	s.inFlight--
	delete(s.visits, v.host)
	for _, waiting := range v.deferred {
		if !waiting.dropped {
			s.move(waiting, now)
		}
	}
}

// overdue returns how long the first task has been due, or 0 if none is.
func (s *schedule) overdue(now time.Time) time.Duration {
	if len(s.waiting) == 0 {
		return 0
	}
	return max(now.Sub(s.waiting[0].due), 0)
}

// A taskHeap is a heap of tasks, the one that is due first on top.
type taskHeap []*task

// Len, Less, Swap, Push and Pop are for package heap.

func (h taskHeap) Len() int           { return len(h) }
func (h taskHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h taskHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push adds x.
func (h *taskHeap) Push(x any) {
	t := x.(*task)
	t.index = len(*h)
	*h = append(*h, t)
}

// Pop removes the last element.
func (h *taskHeap) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return t
}
