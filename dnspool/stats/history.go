package stats

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config/failure"
	"mirrorpool/config/statefile"
)

const (
	// maxKept is how many paths all days that have ended have together. Where they have more, the oldest days keep
	// keptPaths.
	maxKept, keptPaths = 200_000, 100
	maxDays            = 3660 // files that are read
	// settleTime is for how long a day that has ended may still be counted in.
	settleTime = time.Minute
	// A clock that leaps by more than leap days may be wrong for a moment: nothing is old by it.
	leap = 3
)

// format is that of the file of a day.
var format = statefile.Format{Kind: "mirrorpool-stats", Version: 1, Limit: 32 << 20}

// history is the days that have ended.
type history struct {
	dir string // of the files; "": none

	writing sync.Mutex // held by Save, one at a time

	mu     sync.Mutex // guards all below
	keep   int        // days
	days   []Day      // the oldest first
	ending []ended    // days that have ended a moment ago
	saving failure.Last
	names  map[string]string // the names of paths and mirrors, each once
}

// ended is a day that has ended, and when.
type ended struct {
	today *today
	at    time.Time
}

// SetKeep sets for how long days are kept; 0: nothing is counted.
func (c *Counter) SetKeep(keep time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keep = int(keep / (24 * time.Hour))
	c.enabled.Store(keep > 0)
}

// find returns the index of a day in days, or -1. mu is held.
func (h *history) find(day int) int {
	return slices.IndexFunc(h.days, func(d Day) bool { return d.day == day })
}

// put adds a day that has ended, and drops what is too old today, or too much. mu is held.
func (h *history) put(d Day, today int) {
	if i := h.find(d.day); i >= 0 {
		h.days[i] = d
	} else if sum(d.Kinds) > 0 {
		h.days = append(h.days, d)
	}
	h.intern(&d)
	slices.SortFunc(h.days, func(a, b Day) int { return a.day - b.day })
	if h.isSteady(today) {
		h.days = slices.DeleteFunc(h.days, func(d Day) bool { return d.day <= today-max(h.keep, 1) })
	}
	paths := 0
	for i := range h.days {
		paths += len(h.days[i].Paths)
	}
	for i := 0; i < len(h.days) && paths > maxKept; i++ {
		before := len(h.days[i].Paths)
		h.days[i].keepLargest(keptPaths)
		paths -= before - len(h.days[i].Paths)
	}
}

// isSteady reports whether a day just before today is known: if not, the clock may be wrong. mu is held.
func (h *history) isSteady(today int) bool {
	recent := func(day int) bool { return day < today && day >= today-leap }
	return slices.ContainsFunc(h.days, func(d Day) bool { return recent(d.day) }) ||
		slices.ContainsFunc(h.ending, func(e ended) bool { return recent(e.today.day) })
}

// intern has days share the memory of names.
func (h *history) intern(d *Day) {
	if h.names == nil || len(h.names) > 4*maxPaths {
		h.names = map[string]string{} // names of files that are gone stay in their days
	}
	for _, list := range [...][]Count{d.Paths, d.Mirrors} {
		for i := range list {
			if name, ok := h.names[list[i].Name]; ok {
				list[i].Name = name
			} else {
				h.names[list[i].Name] = list[i].Name
			}
		}
	}
}

// Save writes the day that goes on, and those that have ended a moment ago, to their files. It removes the files of
// days that are no longer kept, and logs a failure, once until the error changes.
func (c *Counter) Save(log *zap.Logger) {
	if c.dir == "" {
		return
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	current := c.turn(dayOf(c.now())) // though no request came since midnight
	c.mu.Lock()
	steady := c.isSteady(current.day)
	days := append(c.settle(current.day), current.snapshot())
	oldest := current.day - max(c.keep, 1) + 1
	c.mu.Unlock()
	err := os.MkdirAll(c.dir, 0o700)
	for i := range days {
		if err == nil && sum(days[i].Kinds) > 0 {
			err = c.write(&days[i])
		}
	}
	if err == nil && steady {
		err = c.removeOld(oldest)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.saving.IsNew(err) {
		log.Warn("cannot save the numbers of downloads", zap.String("folder", c.dir), zap.Error(err))
	}
}

// settle takes in the days that have ended long enough ago. It returns the counts of all that have ended a moment ago.
// mu is held.
func (c *Counter) settle(today int) (days []Day) {
	now := c.now()
	settled := func(e ended) bool { return now.Sub(e.at) >= settleTime || now.Before(e.at) }
	for _, e := range c.ending {
		d := e.today.close()
		days = append(days, d)
		if settled(e) {
			c.put(d, today)
		}
	}
	c.ending = slices.DeleteFunc(c.ending, settled)
	return days
}

func (h *history) write(d *Day) error {
	body, err := json.Marshal(d)
	if err != nil {
		return err
	}
	return format.Replace(filepath.Join(h.dir, d.Date), body)
}

// removeOld removes the files of the days before one.
func (h *history) removeOld(oldest int) error {
	entries, err := os.ReadDir(h.dir)
	var errs []error
	for _, e := range entries {
		if day, ok := dayOfName(e.Name()); ok && day < oldest {
			errs = append(errs, os.Remove(filepath.Join(h.dir, e.Name())))
		}
	}
	return errors.Join(append(errs, err)...)
}

// dayOfName reads the name of a day's file.
func dayOfName(name string) (day int, ok bool) {
	t, err := time.Parse(time.DateOnly, name)
	return dayOf(t), err == nil
}

// Load reads the days that Save has written. A file that cannot be used is logged and set aside; the others count.
func (c *Counter) Load(log *zap.Logger) {
	if c.dir == "" {
		return
	}
	entries, err := os.ReadDir(c.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		log.Warn("cannot read the saved numbers of downloads", zap.Error(err))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	current := c.current.Load()
	for _, e := range entries[max(0, len(entries)-maxDays):] { // sorted by name, which is by day
		day, ok := dayOfName(e.Name())
		if !ok || strings.HasSuffix(e.Name(), ".bad") {
			continue
		}
		err := format.Load(filepath.Join(c.dir, e.Name()), func(body []byte) error {
			d, err := decode(body, day)
			switch {
			case err != nil:
				return err
			case day == current.day:
				current.resume(d)
			case day < current.day && day > current.day-max(c.keep, 1):
				d.Open = false
				c.put(*d, current.day)
			}
			return nil
		})
		if err != nil {
			log.Warn("cannot restore the saved numbers of a day", zap.String("day", e.Name()), zap.Error(err))
		}
	}
}

// decode reads the body of a day's file.
func decode(body []byte, day int) (*Day, error) {
	d := &Day{day: day}
	if err := json.Unmarshal(body, d); err != nil {
		return nil, err
	}
	if d.Date != dateOf(day) {
		return nil, fmt.Errorf("it is of %q", d.Date)
	}
	for _, list := range [...][]Count{d.Kinds, d.Paths, d.Mirrors, d.Countries} {
		if len(list) > max(maxPaths, maxMirrors)+1 {
			return nil, fmt.Errorf("%d counts in a table", len(list))
		}
		for _, c := range list {
			if c.Name == "" || len(c.Name) > 4*maxPathLength || c.N > 1<<53 {
				return nil, fmt.Errorf("%q with %d downloads makes no sense", c.Name, c.N)
			}
		}
	}
	return d, nil
}
