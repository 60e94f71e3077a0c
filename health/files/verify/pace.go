package verify

import (
	"slices"
	"time"
)

const (
	// burst is how many bytes are read as fast as a mirror sends them, at the beginning of a file: that shows how fast it
	// is.
	burst = 4 << 20
	// minMeasured is how many bytes say how fast a mirror is. The first of them are left out: TCP begins slowly.
	minMeasured, slowStart = 1 << 20, 256 << 10
	// speedsKept is how many of the latest reads count, enoughSpeeds how many are enough.
	speedsKept, enoughSpeeds = 9, 5
)

// A bucket bounds how many bytes are read in a second, with bursts (a token bucket). The zero value is full.
type bucket struct {
	level   int64 // bytes that were read beyond the rate
	updated time.Time
}

// take takes bytes out of the bucket, and returns how long to wait before the next ones.
func (b *bucket) take(now time.Time, bytes, rate int64) time.Duration {
	b.leak(now, rate)
	b.level += bytes
	return timeOf(b.level-burst, rate)
}

// wait returns how long to wait so that as many bytes as possible may be read at once.
func (b *bucket) wait(now time.Time, rate int64) time.Duration {
	b.leak(now, rate)
	return timeOf(b.level, rate)
}

func (b *bucket) leak(now time.Time, rate int64) {
	b.level = max(0, b.level-int64(now.Sub(b.updated).Seconds()*float64(rate)))
	b.updated = now
}

// timeOf returns how long bytes take at a rate.
func timeOf(bytes, rate int64) time.Duration {
	return time.Duration(float64(max(bytes, 0)) / float64(rate) * float64(time.Second))
}

// A meter measures how fast a mirror sends, until the reader has to wait.
type meter struct {
	began time.Time // when the bytes of the slow start had arrived
	bytes int64     // all so far
	speed float64   // bytes a second; 0 while it is not known
	ended bool
}

// note takes in bytes that have arrived.
func (m *meter) note(now time.Time, bytes int) {
	if m.ended {
		return
	}
	m.bytes += int64(bytes)
	switch took := now.Sub(m.began).Seconds(); {
	case m.bytes < slowStart:
	case m.began.IsZero():
		m.began, m.bytes = now, slowStart
	case m.bytes-slowStart >= minMeasured && took > 0:
		m.speed = float64(m.bytes-slowStart) / took
	}
}

// speeds are those of the latest reads of a mirror, in bytes a second.
type speeds []float64

func (s *speeds) add(speed float64) {
	if speed > 0 {
		*s = append(*s, speed)
		*s = (*s)[max(0, len(*s)-speedsKept):]
	}
}

// median returns the median; 0 while too few are known.
func (s speeds) median() float64 {
	if len(s) < enoughSpeeds {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[len(sorted)/2]
}
