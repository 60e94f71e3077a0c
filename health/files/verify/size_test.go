package verify

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

// TestSecondCopyIsShorter has a mirror send another wrong copy each time, as a whole only, of a file whose size is not
// known.
func TestSecondCopyIsShorter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, map[string][]byte{"x.img": randomText(1, 3<<20)}, Options{}, "a", "b")
		defer w.stop()
		w.noSizes = true
		w.publish()
		b := w.mirrors["b"]
		w.do(func() {
			b.noParts = true
			b.faults = func(*rand.Rand, []byte) (io.Reader, int64, error) { return nil, 0, errReset }
		})
		time.Sleep(2 * time.Hour) // what is right is known by the other mirror
		w.do(func() {
			before := b.reads["x.img"]
			b.faults = func(_ *rand.Rand, text []byte) (io.Reader, int64, error) {
				wrong := bytes.Clone(text)
				wrong[len(wrong)-1] ^= 1
				if (b.reads["x.img"]-before)%2 == 0 {
					wrong = randomText(9, 100)
				}
				return bytes.NewReader(wrong), int64(len(wrong)), nil
			}
		})
		time.Sleep(3 * time.Hour)
		if c := w.v.Counts(); len(w.corruptOf("b")) > 0 || c.Broken == 0 || w.v.Report()["a"].Verified != 1 {
			t.Errorf("%+v, %v", c, w.v.Report())
		}
	})
}

// TestTrickle has a mirror send a byte now and then. That does not keep another one from being verified.
func TestTrickle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, map[string][]byte{"x.img": randomText(1, 1<<20)}, Options{}, "a", "b")
		defer w.stop()
		w.do(func() {
			m := w.mirrors["b"]
			m.speed = 1.0 / 50 // bytes a second
			m.faults = func(_ *rand.Rand, text []byte) (io.Reader, int64, error) {
				return iotest.OneByteReader(bytes.NewReader(text)), int64(len(text)), nil
			}
		})
		w.v.LookAt(map[string][]string{"b": {"x.img"}})
		time.Sleep(time.Hour)
		if c := w.v.Counts(); c.Broken == 0 || w.v.Report()["a"].Verified != 1 {
			t.Errorf("%+v, %v", c, w.v.Report())
		}
	})
}

// TestEndless gives up a copy that has no end, of a file whose size is not known.
func TestEndless(t *testing.T) {
	t.Parallel()
	v := New(Options{Settings: Settings{Rate: 1e15}, Now: time.Now})
	stalled := time.NewTimer(stallTime)
	defer stalled.Stop()
	parts, speed := newPieceWriter(), 0.0
	parts.done = make(pieces, maxPieces)
	if _, err := v.stream(t.Context(), &mirror{}, endless{}, sha256.New(), parts, stalled, &speed); !errors.Is(err, errSize) {
		t.Errorf("got %v, want %v", err, errSize)
	}
}

// endless sends bytes without end.
type endless struct{}

func (endless) Read(to []byte) (int, error) { return len(to), nil }

// TestNoGoodMirrorIsAccusedWithoutSizes is TestNoGoodMirrorIsAccused with an origin that does not tell the sizes of
// files: a copy that breaks off where its length is not told either, and a page in its place, look complete.
func TestNoGoodMirrorIsAccusedWithoutSizes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		origin := map[string][]byte{"stable/3.img": randomText(3, 1<<20+5), "stable/4.img": randomText(4, 1<<20)}
		w := newWorld(t, origin, Options{}, "a", "b", "c", "d")
		defer w.stop()
		w.noSizes = true
		w.publish()
		w.do(func() {
			for _, prefix := range []string{"a", "b", "c"} {
				w.mirrors[prefix].faults = unsteady
			}
			w.mirrors["c"].noParts = true
		})
		for pass := range 200 {
			time.Sleep(5 * time.Minute)
			w.readAllAgain()
			for prefix, r := range w.v.Report() {
				if len(r.Corrupt) > 0 {
					t.Fatalf("pass %d: %s is accused: %+v", pass, prefix, r.Corrupt[0])
				}
			}
		}
		if c := w.v.Counts(); c.Broken < 500 || c.Good < 500 {
			t.Errorf("%+v", c)
		}
	})
}

// TestRefusesParts finds a corrupt mirror that refuses to send a part of a file.
func TestRefusesParts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, map[string][]byte{"x.img": randomText(1, 2<<20)}, Options{}, "a", "b")
		defer w.stop()
		w.flip("b", "x.img", 5)
		w.do(func() {
			w.mirrors["b"].faults = func(_ *rand.Rand, text []byte) (io.Reader, int64, error) {
				if len(text) < 2<<20 {
					return nil, 0, errors.New("416 Range Not Satisfiable")
				}
				return bytes.NewReader(text), int64(len(text)), nil
			}
		})
		w.wantCorruptBySecondCopy(t, "b", "x.img")
	})
}

// TestOtherSize finds copies that have another size than the file for good, where the origin does not tell the size.
func TestOtherSize(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		text := randomText(1, 3<<20)
		w := newWorld(t, map[string][]byte{"x.img": text}, Options{}, "cut", "cut at a piece", "good", "longer")
		defer w.stop()
		w.noSizes = true
		w.publish()
		w.do(func() {
			w.mirrors["cut"].files["x.img"] = text[:2<<20+7]
			w.mirrors["cut at a piece"].files["x.img"] = text[:2<<20]
			w.mirrors["longer"].files["x.img"] = append(bytes.Clone(text), 1)
		})
		time.Sleep(retryTime / 2)
		for prefix, r := range w.v.Report() {
			if len(r.Corrupt) > 0 {
				t.Errorf("%s is accused after one copy", prefix)
			}
		}
		time.Sleep(3 * retryTime)
		for prefix, offset := range map[string]int64{"cut": 2 << 20, "cut at a piece": 2 << 20, "longer": 3 << 20} {
			if r := w.v.Report()[prefix]; len(r.Corrupt) != 1 || r.Corrupt[0].Offset != offset {
				t.Errorf("%s: %+v", prefix, r)
			}
		}
		if len(w.corruptOf("good")) > 0 {
			t.Error("the good mirror is accused")
		}
	})
}

// TestEndlessCopy has a mirror send a file without an end. That does not keep another one from being verified.
func TestEndlessCopy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, map[string][]byte{"x.img": randomText(1, 1<<20)}, Options{}, "a", "b")
		defer w.stop()
		w.do(func() {
			w.mirrors["b"].faults = func(*rand.Rand, []byte) (io.Reader, int64, error) { return endless{}, -1, nil }
		})
		w.v.LookAt(map[string][]string{"b": {"x.img"}})
		time.Sleep(10 * time.Minute)
		if c := w.v.Counts(); c.Broken == 0 || w.v.Report()["a"].Verified != 1 || len(w.corruptOf("b")) > 0 {
			t.Errorf("%+v, %v", c, w.v.Report())
		}
	})
}
