package verify

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"mirrorpool/health/files/checksums"
)

const (
	maxReads = 100         // under way at a time
	minIdle  = time.Second // between two looks at what is due
	// So often the files are asked for: each second, and less often where they are many.
	listShare = time.Second / 5000 // for each
)

// Run reads copies until ctx ends, and returns nil when all that is under way has ended.
func (v *Verifier) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-v.wake:
		}
		timer.Reset(v.start(ctx, &running))
		v.tell()
	}
}

// tell calls Changed, if something has changed of which it was not called yet.
func (v *Verifier) tell() {
	v.mu.Lock()
	news := v.news
	v.news = false
	v.mu.Unlock()
	if news {
		v.Changed()
	}
}

// start starts the reads that are due, and returns the time until it should be called again.
func (v *Verifier) start(ctx context.Context, running *sync.WaitGroup) time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := v.Now()
	if now.Sub(v.listed) >= v.listPause() {
		v.list()
		v.listed = now
	}
	if v.settings.Rate == 0 {
		return idleTime
	}
	next := now.Add(v.listPause())
	prefixes := slices.Sorted(maps.Keys(v.mirrors))
	v.Random.Shuffle(len(prefixes), func(i, j int) { prefixes[i], prefixes[j] = prefixes[j], prefixes[i] })
	for _, prefix := range prefixes {
		m := v.mirrors[prefix]
		if len(m.Addresses) == 0 {
			continue
		}
		v.startRead(ctx, running, m, now)
		v.startSample(ctx, running, m, now)
		for _, at := range [...]time.Time{m.next, m.sampled} {
			if at.Before(next) {
				next = at
			}
		}
	}
	return max(next.Sub(now), minIdle)
}

// listPause is the time between two looks at which files there are.
func (v *Verifier) listPause() time.Duration {
	return max(minIdle, time.Duration(len(v.numbers))*listShare)
}

// startRead starts a whole read of a mirror's file, if one is due.
func (v *Verifier) startRead(ctx context.Context, running *sync.WaitGroup, m *mirror, now time.Time) {
	if m.busy || v.reads == maxReads || now.Before(m.next) {
		return
	}
	f, waits := v.choose(m, now)
	switch {
	case f == nil && waits:
		m.next = now.Add(minIdle)
		return
	case f == nil:
		m.next, m.idle = now.Add(idleTime), true
		v.news = v.acquit(m) || v.news // the last corrupt file may be gone
		return
	}
	m.idle = false
	m.busy, v.reading[f] = true, true
	v.reads++
	seen := m.Mirror
	running.Go(func() {
		defer v.endRead(m, f)
		v.verify(ctx, m, seen, f)
	})
}

func (v *Verifier) endRead(m *mirror, f *checksums.File) {
	v.mu.Lock()
	defer v.mu.Unlock()
	m.busy = false
	if v.gone[m.URLPrefix] == m && !m.hasFindings() {
		delete(v.gone, m.URLPrefix)
	}
	m.next = v.Now().Add(shortPause)
	if m.urgent != nil {
		m.next = time.Time{}
	}
	v.reads--
	delete(v.reading, f)
	v.hurry()
}

// startSample starts to compare a range of a mirror's file, if that is due.
func (v *Verifier) startSample(ctx context.Context, running *sync.WaitGroup, m *mirror, now time.Time) {
	if m.sampling || now.Before(m.sampled) {
		return
	}
	m.sampled = now.Add(sampleEvery)
	f, offset := v.chooseRange(m)
	if f == nil {
		return
	}
	m.sampling = true
	seen := m.Mirror
	running.Go(func() {
		v.sample(ctx, m, seen, f, offset)
		v.mu.Lock()
		defer v.mu.Unlock()
		m.sampling = false
	})
}
