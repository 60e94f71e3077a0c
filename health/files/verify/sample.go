package verify

import (
	"bytes"
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"mirrorpool/health/files/checksums"
)

const (
	rangeSize   = 64 << 10
	sampleEvery = 20 * time.Second // of each mirror
	wholeOnly   = 24 * time.Hour   // likewise, if it sends whole files alone
)

// sample compares a range of a mirror's copy with the origin's file. One that differs twice has the copy read as a
// whole next: only that proves something.
func (v *Verifier) sample(ctx context.Context, m *mirror, seen Mirror, f *checksums.File, offset int64) {
	addr := v.address(m, &seen, f)
	for range 2 {
		length := min(rangeSize, f.Size-offset)
		want, err := v.originPart(ctx, f, offset, length)
		if err != nil {
			return
		}
		got, err := v.readPart(ctx, m, &seen, f, addr, offset, length)
		if errors.Is(err, errPart) {
			v.mu.Lock()
			m.sampled = v.Now().Add(wholeOnly)
			v.mu.Unlock()
		}
		if err != nil {
			return
		}
		if bytes.Equal(got, want) {
			v.mu.Lock()
			v.counts.Samples++
			v.mu.Unlock()
			return
		}
	}
	v.Log.Warn("a part of a mirror's file differs from the origin's; reading it as a whole", zap.String("mirror", seen.URLPrefix),
		zap.String("path", f.Path), zap.Int64("offset", offset))
	v.mu.Lock()
	defer v.mu.Unlock()
	v.counts.Samples++
	if number, ok := v.numbers[f]; ok {
		m.distrust(number)
		delete(m.later, number)
		m.places[number] = addr
		m.urgent, m.next = f, time.Time{}
	}
	v.hurry()
}
