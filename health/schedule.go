package health

import (
	"container/heap"
	"context"
	"time"
)

// A task is something that the checker does again and again: it checks an endpoint or looks up the
// addresses of a mirror's host. Exactly one of endpoint and host is set.
type task struct {
	due      time.Time
	endpoint *endpoint
	host     *mirror

	done    bool // it has ended once
	dropped bool // it is no longer wanted

	index  int                // in the schedule, while it waits there
	cancel context.CancelFunc // stops it, while it is under way
}

// A schedule is a heap of the tasks that wait, the one that is due first on top.
type schedule []*task

// move changes when t is due. It does nothing to a task that is under way.
func (s *schedule) move(t *task, due time.Time) {
	if t.cancel != nil {
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
