package verify

import (
	"testing"
	"time"

	"mirrorpool/health/files/checksums"
)

// TestRound begins another round of reads when the one before is a month old.
func TestRound(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for number := range b.files {
		b.m.done.Add(uint32(number))
	}
	b.m.began = b.now.Add(time.Second - roundTime)
	if f, waits := b.v.choose(b.m, b.now); f != nil || waits || b.v.dirty {
		t.Errorf("%v is read in a round that goes on", f)
	}
	b.now = b.now.Add(time.Second)
	if f, _ := b.v.choose(b.m, b.now); f != b.files[2] || !b.m.done.IsEmpty() || b.m.began != b.now || !b.v.dirty {
		t.Errorf("%v is read in the next round, %+v", f, b.m)
	}
}

// TestChoose has a file in question be read first, then one of the newest release, then any that is due.
func TestChoose(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	want := func(what string, want *checksums.File, wantWaits bool) {
		t.Helper()
		for range 20 { // the order is random
			urgent, hurried := b.m.urgent, b.m.hurried
			if f, waits := b.v.choose(b.m, b.now); f != want || waits != wantWaits {
				t.Fatalf("%s: got %+v, %t", what, f, waits)
			}
			b.m.urgent, b.m.hurried = urgent, hurried
		}
	}
	want("all are due", b.files[2], false)
	b.m.urgent = b.files[0]
	want("one is in question", b.files[0], false)
	if b.v.choose(b.m, b.now); b.m.urgent != nil || !b.m.hurried {
		t.Error("it stays in question")
	}
	b.m.urgent = b.files[2]
	b.m.done.Add(0)
	want("one that is in question again", b.files[1], true)
	if b.v.choose(b.m, b.now); b.m.hurried {
		t.Error("the next one in question has to wait, too")
	}
	b.m.hurried = true
	b.m.done.Add(1)
	want("there is no other", b.files[2], false)
	b.v.reading[b.files[2]] = true
	want("it is read elsewhere", nil, true)
	b.m.urgent, b.m.hurried = nil, false
	want("that of the newest release is read elsewhere", nil, true)
	b.m.done.Add(2)
	want("none is due", nil, false)
	b.m.done.Clear()
	b.m.done.Add(2)
	b.m.later[0] = b.now.Add(time.Second)
	want("one is due later", b.files[1], false)
	b.v.wrong[b.files[1]] = true
	want("the checksum of the other is wrong", nil, false)
	b.m.later[0] = b.now
	want("the one is due now", b.files[0], false)
	b.v.Has = func(int, string) bool { return false }
	want("the mirror has none", nil, false)
	b.v.forget(b.files[0], 0)
	b.v.Has = func(int, string) bool { return true }
	want("it is gone", nil, false)
	if f, waits := New(Options{}).choose(b.v.newMirror(b.now), b.now); f != nil || waits {
		t.Error("a file is read where there is none")
	}
}

// TestChooseForSpeed has a large file of a slow mirror read, once in ten minutes.
func TestChooseForSpeed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.v.settings.MinRate = 10
	for number := range b.files {
		b.m.done.Add(uint32(number))
	}
	for _, f := range b.files[:2] {
		f.Size = slowStart + minMeasured
	}
	choose := func(what string, want *checksums.File) {
		t.Helper()
		if f, waits := b.v.choose(b.m, b.now); f != want || waits {
			t.Errorf("%s: got %+v, %t", what, f, waits)
		}
	}
	choose("of a speed that is not known", nil)
	for range enoughSpeeds {
		b.m.speeds.add(5)
	}
	b.m.done.Remove(0)
	b.m.later[0] = b.now.Add(time.Hour)
	choose("slow", b.files[1])
	b.now = b.now.Add(speedTime - time.Second)
	choose("too soon", nil)
	b.now = b.now.Add(time.Second)
	choose("slow still", b.files[1])
	b.now = b.now.Add(speedTime)
	b.v.reading[b.files[1]] = true
	choose("a file is read elsewhere", nil)
	b.now = b.now.Add(speedTime)
	clear(b.v.reading)
	b.v.Has = func(int, string) bool { return false }
	choose("the mirror lacks all", nil)
	b.now = b.now.Add(speedTime)
	b.v.Has = func(int, string) bool { return true }
	b.v.forget(b.files[0], 0)
	b.v.forget(b.files[1], 1)
	choose("all but a small file are gone", nil)
}

// TestLookAtAgain looks at a file again after an hour, and at none that is in no question.
func TestLookAtAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	look := func(what string, want *checksums.File) {
		t.Helper()
		b.v.rest()
		b.m.next = b.now.Add(time.Hour)
		b.v.LookAt(map[string][]string{"m": {"1"}, "no mirror": {"1"}})
		if b.m.urgent != want || (len(b.v.wake) == 1) != (want != nil) || b.m.next.IsZero() != (want != nil) {
			t.Errorf("%s: %+v", what, b.m)
		}
		b.m.urgent = nil
	}
	look("the first time", b.files[1])
	b.now = b.now.Add(retryTime - time.Second)
	look("too soon", nil)
	b.now = b.now.Add(time.Second)
	look("an hour later", b.files[1])
	b.now = b.now.Add(retryTime)
	b.m.corrupt[1] = &Finding{}
	look("known to be corrupt", nil)
	clear(b.m.corrupt)
	b.v.Has = func(int, string) bool { return false }
	look("not there", nil)
	b.v.Has = func(int, string) bool { return true }
	b.m.urgent = b.files[0]
	if b.v.LookAt(map[string][]string{"m": {"1"}}); b.m.urgent != b.files[0] {
		t.Error("another file in question is passed over")
	}
}

// TestChooseRange hits all parts of all files, as often as they are large.
func TestChooseRange(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	sizes := []int64{rangeSize, 3*rangeSize + rangeSize/2, -1}
	for i, f := range b.files {
		f.Size = sizes[i]
	}
	hits := map[*checksums.File]map[int64]int{b.files[0]: {}, b.files[1]: {}}
	const draws = 50_000
	for range draws {
		f, offset := b.v.chooseRange(b.m)
		if f == nil || offset%rangeSize != 0 || offset >= f.Size {
			t.Fatalf("got %+v, %d", f, offset)
		}
		hits[f][offset]++
	}
	for i, ranges := range []int{1, 4} {
		if got := hits[b.files[i]]; len(got) != ranges {
			t.Errorf("file %d: hits by offset: %v", i, got)
		}
		for k := range int64(min(ranges, 3)) {
			if n := hits[b.files[i]][k*rangeSize]; n < draws*2/9*9/10 || n > draws*2/9*11/10 {
				t.Errorf("file %d is hit %d times at range %d, want about two ninths", i, n, k)
			}
		}
	}
	for what, change := range map[string]func(b *bench){
		"the mirror lacks it":   func(b *bench) { b.v.Has = func(int, string) bool { return false } },
		"its checksum is wrong": func(b *bench) { b.v.wrong[b.files[0]] = true },
		"it is corrupt":         func(b *bench) { b.m.corrupt[0] = &Finding{} },
		"it is gone":            func(b *bench) { b.v.forget(b.files[0], 0) },
		"it is empty":           func(b *bench) { b.files[0].Size = 0 },
	} {
		b := newBench(t)
		for i, f := range b.files {
			f.Size = []int64{rangeSize, -1, 0}[i]
		}
		if f, _ := b.v.chooseRange(b.m); f != b.files[0] {
			t.Errorf("got %+v", f)
		}
		change(b)
		if f, offset := b.v.chooseRange(b.m); f != nil || offset != 0 {
			t.Errorf("%s: got %+v, %d", what, f, offset)
		}
	}
}
