package verify

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"mirrorpool/testdata/testbed"
)

// fiveFiles are those of an origin.
func fiveFiles(size int) map[string][]byte {
	origin := map[string][]byte{}
	for i := range 5 {
		origin[fmt.Sprintf("stable/%d.img", i)] = randomText(uint64(i), size)
	}
	return origin
}

// flip changes one bit of a mirror's file. Reads that have begun go on with the file as it was.
func (w *world) flip(prefix, path string, offset int) {
	w.do(func() {
		text := bytes.Clone(w.mirrors[prefix].files[path])
		text[offset] ^= 1
		w.mirrors[prefix].files[path] = text
	})
}

// TestOneWrongByte is found within one pass, and has the mirror serve this file no more; three files, nothing any more.
func TestOneWrongByte(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		evidence := t.TempDir()
		w := newWorld(t, fiveFiles(3<<20), Options{Evidence: evidence}, "a", "b", "c", "d")
		defer w.stop()
		w.flip("b", "stable/1.img", 2_222_222)
		time.Sleep(5 * time.Minute)
		if diff := cmp.Diff([]string{"stable/1.img"}, w.corruptOf("b")); diff != "" {
			t.Fatalf("corrupt: -want +got:\n%s", diff)
		}
		report := w.v.Report()["b"]
		if found := report.Corrupt[0]; found.Offset != 2_222_222 || report.Condemned != nil || report.Verified != 4 {
			t.Errorf("%+v, %+v", found, report)
		}
		if n := w.v.Wanted(); n != 5 {
			t.Errorf("%d files are to be verified, want 5", n)
		}
		if withheld := w.v.Withheld(); len(withheld) != 1 || w.changes == 0 {
			t.Errorf("withheld: %v, with %d changes told of", withheld, w.changes)
		}
		for _, prefix := range []string{"a", "c", "d"} {
			if r := w.v.Report()[prefix]; len(r.Corrupt) > 0 || r.Verified != 5 {
				t.Errorf("%s: %+v", prefix, r)
			}
		}
		names, _ := filepath.Glob(filepath.Join(evidence, "*.json"))
		if len(names) != 1 {
			t.Fatalf("%d files of evidence, want 1", len(names))
		}
		text, _ := os.ReadFile(names[0])
		var kept struct {
			Mirror, Path, Certificate, Address string
			Offset                             int64
			WantBytes                          string `json:"want_bytes"`
			FoundBytes                         string `json:"found_bytes"`
		}
		if err := json.Unmarshal(text, &kept); err != nil || kept.Mirror != "b" || kept.Path != "stable/1.img" || kept.Offset != 2_222_222 ||
			kept.Certificate != "the certificate" || kept.Address != "192.0.2.1" || kept.WantBytes[2:] != kept.FoundBytes[2:] ||
			kept.WantBytes == kept.FoundBytes {
			t.Errorf("%v: %s", err, text)
		}

		w.flip("b", "stable/2.img", 0)
		w.flip("b", "stable/3.img", 3<<20-1)
		w.v.Pardon("b")
		time.Sleep(5 * time.Minute)
		report = w.v.Report()["b"]
		if len(report.Corrupt) != 3 || report.Condemned == nil || !strings.HasPrefix(report.Condemned.String(), "content: sha-256 of stable/") {
			t.Fatalf("with three corrupt files: %+v", report)
		}
		w.do(func() { w.mirrors["b"].files = fiveFiles(3 << 20) })
		time.Sleep(corruptTime + 5*time.Minute)
		if report = w.v.Report()["b"]; len(report.Corrupt) > 0 || report.Condemned != nil {
			t.Errorf("after its files were mended: %+v", report)
		}
	})
}

// TestLookAt has a file read at once that another watcher holds corrupt, and once an hour at most.
func TestLookAt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, fiveFiles(1<<20), Options{}, "a", "b")
		defer w.stop()
		time.Sleep(5 * time.Minute) // all are read and good
		reads := func() (n int) {
			w.do(func() { n = w.mirrors["b"].reads["stable/3.img"] })
			return n
		}
		before := reads()
		claim := map[string][]string{"b": {"stable/3.img", "no/such/file"}, "no such mirror": {"stable/3.img"}}
		for range 10 {
			w.v.LookAt(claim)
			time.Sleep(time.Minute)
		}
		if n := reads(); n != before+1 {
			t.Errorf("a good file was read %d times, want once more than %d", n, before)
		}
		w.flip("b", "stable/3.img", 7)
		time.Sleep(time.Hour)
		w.v.LookAt(claim)
		time.Sleep(time.Minute)
		if diff := cmp.Diff([]string{"stable/3.img"}, w.corruptOf("b")); diff != "" {
			t.Errorf("corrupt: -want +got:\n%s", diff)
		}
		known := reads()
		time.Sleep(2 * time.Hour)
		w.v.LookAt(claim)
		time.Sleep(time.Minute)
		if n := reads(); n != known {
			t.Error("a file that is known to be corrupt was read again")
		}
	})
}

// TestNewestRelease condemns a mirror for one file of it. A pardon ends that, until the file is read again.
func TestNewestRelease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, fiveFiles(2<<20), Options{}, "a", "b")
		defer w.stop()
		w.do(func() { w.newest["stable/4.img"] = true })
		w.flip("b", "stable/4.img", 100)
		time.Sleep(time.Minute)
		if w.v.Report()["b"].Condemned == nil {
			t.Fatalf("%+v", w.v.Report()["b"])
		}
		w.flip("b", "stable/4.img", 100)
		w.v.Pardon("b")
		if r := w.v.Report()["b"]; r.Condemned != nil || len(r.Corrupt) > 0 || len(w.v.Withheld()) > 0 {
			t.Errorf("after a pardon: %+v", r)
		}
		time.Sleep(5 * time.Minute)
		if r := w.v.Report()["b"]; r.Condemned != nil || r.Verified != 5 {
			t.Errorf("after it was read again: %+v", r)
		}
	})
}

// TestReleaseComesLate has a mirror get a file of the newest release, with a wrong byte, after it was asked for it: it
// is asked again soon, since clients are sent there by then. Of other files it is not.
func TestReleaseComesLate(t *testing.T) {
	t.Parallel()
	for newest, want := range map[bool]int{true: 1, false: 0} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, fiveFiles(1<<20), Options{}, "a", "b")
			defer w.stop()
			w.do(func() {
				w.newest["stable/4.img"] = newest
				delete(w.mirrors["b"].files, "stable/4.img")
			})
			time.Sleep(5 * time.Minute)
			w.do(func() { w.mirrors["b"].files["stable/4.img"] = bytes.Clone(w.origin["stable/4.img"]) })
			w.flip("b", "stable/4.img", 999)
			w.do(func() { w.noPath = true }) // so that no range is compared
			time.Sleep(newTime + retryTime)
			if got := w.corruptOf("b"); len(got) != want {
				t.Errorf("newest: %t: corrupt: %q, want %d", newest, got, want)
			}
		})
	}
}

// TestNoGoodMirrorIsAccused has reads break in all ways, over 200 passes; the corrupt mirror among them is found.
func TestNoGoodMirrorIsAccused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		origin := map[string][]byte{"stable/3.img": randomText(3, 1<<20+5)}
		for i := range 4 {
			origin[fmt.Sprintf("small/%d", i)] = randomText(uint64(i), 1000)
		}
		w := newWorld(t, origin, Options{}, "a", "b", "c", "d")
		defer w.stop()
		w.do(func() {
			for _, m := range w.mirrors {
				m.faults = unsteady
			}
			w.mirrors["c"].noParts = true
		})
		w.flip("d", "stable/3.img", 1<<20+4)
		passes := 0
		for ; passes < 200; passes++ {
			time.Sleep(5 * time.Minute)
			w.v.Pardon("d")
			w.readAllAgain()
			for _, prefix := range []string{"a", "b", "c"} {
				if r := w.v.Report()[prefix]; len(r.Corrupt) > 0 {
					t.Fatalf("pass %d: %s is accused: %+v", passes, prefix, r.Corrupt[0])
				}
			}
		}
		counts := w.v.Counts()
		if counts.Corrupt < 20 || counts.Good < 1000 || counts.Broken < 1000 {
			t.Errorf("%+v in %d passes", counts, passes)
		}
	})
}

// TestPassingFaults are no proof: bytes that are wrong once, and right when they are read again.
func TestPassingFaults(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, fiveFiles(1<<20+5), Options{}, "a")
		defer w.stop()
		w.do(func() {
			wrong := false
			w.mirrors["a"].faults = func(r *rand.Rand, text []byte) (io.Reader, int64, error) {
				sent := bytes.Clone(text)
				if wrong = !wrong && len(sent) > 1<<20; wrong {
					sent[r.IntN(1000)] ^= 1
				}
				return bytes.NewReader(sent), int64(len(sent)), nil
			}
		})
		time.Sleep(time.Minute)
		if c := w.v.Counts(); c.Broken == 0 || c.Corrupt > 0 {
			t.Errorf("%+v, want wrong reads that were passed over", c)
		}
	})
}

// TestRightInParts finds a mirror whose whole copies are wrong, though each part that is asked for is right.
func TestRightInParts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, map[string][]byte{"x.img": randomText(1, 2<<20)}, Options{}, "a", "b")
		defer w.stop()
		w.do(func() {
			w.mirrors["b"].faults = func(_ *rand.Rand, text []byte) (io.Reader, int64, error) {
				sent := bytes.Clone(text)
				if len(sent) == 2<<20 {
					sent[5] ^= 1
				}
				return bytes.NewReader(sent), int64(len(sent)), nil
			}
		})
		w.wantCorruptBySecondCopy(t, "b", "x.img")
	})
}

// TestPieces makes the same sums of a text, however it is written.
func TestPieces(t *testing.T) {
	t.Parallel()
	text := randomText(3, 2*pieceSize+7)
	digest := sha256.Sum256(text[:pieceSize])
	want := pieces{pieceSum(digest[:16]), sumOf(text[pieceSize : 2*pieceSize]), sumOf(text[2*pieceSize:])}
	for _, step := range []int{1000, pieceSize, 3 * pieceSize} {
		w := newPieceWriter()
		for part := range slices.Chunk(text, step) {
			w.Write(part)
		}
		if diff := cmp.Diff(want, w.all()); diff != "" {
			t.Errorf("written by %d bytes: -want +got:\n%s", step, diff)
		}
	}
}

// TestWithoutOrigin finds a corrupt copy by a good one, also if the good one is read later.
func TestWithoutOrigin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, map[string][]byte{"x.img": randomText(1, 3<<20)}, Options{}, "a", "b")
		defer w.stop()
		w.do(func() { w.noPath = true })
		w.flip("a", "x.img", 5)
		w.do(func() {
			w.mirrors["b"].faults = func(*rand.Rand, []byte) (io.Reader, int64, error) { return nil, 0, errReset }
		})
		time.Sleep(3 * time.Hour)
		if len(w.corruptOf("a")) > 0 {
			t.Fatal("it is accused before a copy was good")
		}
		w.do(func() { w.mirrors["b"].faults = nil })
		time.Sleep(retryTime + 5*time.Minute)
		if diff := cmp.Diff([]string{"x.img"}, w.corruptOf("a")); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

// TestRanges finds an altered MiB in a file that was read before, long before it is read again.
func TestRanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, map[string][]byte{"x.img": randomText(1, 64<<20)}, Options{Settings: Settings{Rate: 10e6}}, "a", "b")
		defer w.stop()
		time.Sleep(5 * time.Minute)
		if r := w.v.Report()["a"]; r.Verified != 1 {
			t.Fatalf("%+v", r)
		}
		w.do(func() { copy(w.mirrors["a"].files["x.img"][10<<20:11<<20], randomText(5, 1<<20)) })
		began := time.Now()
		for len(w.corruptOf("a")) == 0 && time.Since(began) < 24*time.Hour {
			time.Sleep(time.Minute)
		}
		// Of 64 MiB, a range hits one MiB with a probability of 1/64: 99 % of them are found within 293 ranges.
		if took := time.Since(began); took > 293*sampleEvery+5*time.Minute {
			t.Errorf("it took %v", took)
		}
		if len(w.corruptOf("b")) > 0 {
			t.Error("the good mirror is accused")
		}
	})
}

// TestGigabyte finds one wrong byte in 1 GiB by the whole read, and an altered MiB by ranges within 25 hours, as
// README.md says of 99 %. It takes 3 GiB of memory.
func TestGigabyte(t *testing.T) {
	if !testbed.Long() {
		t.Skip("it is for MIRRORPOOL_TEST_LONG=1")
	}
	const size = 1 << 30
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, map[string][]byte{"x.img": randomText(1, size)}, Options{Settings: Settings{Rate: 10e6}}, "a")
		defer w.stop()
		copied := w.mirrors["a"].files["x.img"]
		w.do(func() { copied[777_777_777] ^= 1 })
		const pass = (size/10_000_000)*time.Second + time.Minute
		time.Sleep(pass)
		if got := w.corruptOf("a"); len(got) != 1 {
			t.Fatalf("corrupt after one pass: %v", got)
		}
		w.do(func() { copied[777_777_777] ^= 1 })
		w.v.Pardon("a")
		time.Sleep(2 * pass)
		if r := w.v.Report()["a"]; r.Verified != 1 || len(r.Corrupt) > 0 {
			t.Fatalf("%+v", r)
		}
		w.do(func() { copy(copied[500<<20:501<<20], randomText(5, 1<<20)) })
		began := time.Now()
		for len(w.corruptOf("a")) == 0 && time.Since(began) < 25*time.Hour+pass {
			time.Sleep(time.Minute)
		}
		t.Logf("an altered MiB of 1 GiB is found after %v", time.Since(began))
		if len(w.corruptOf("a")) != 1 {
			t.Error("it is not found")
		}
	})
}

// TestRate bounds what a mirror sends, and still measures how fast it is.
func TestRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		origin := map[string][]byte{}
		for i := range 20 {
			origin[fmt.Sprint(i)] = randomText(uint64(i), 6<<20)
		}
		w := newWorld(t, origin, Options{Settings: Settings{Rate: 500e3, MinRate: 1e6}}, "fast", "slow", "third")
		defer w.stop()
		w.do(func() { w.mirrors["fast"].speed, w.mirrors["slow"].speed = 20e6, 700e3 })
		const watched = 4 * time.Minute
		time.Sleep(watched)
		for _, prefix := range []string{"fast", "slow"} {
			w.do(func() {
				if most := int64(watched.Seconds()*500e3) + burst + 6<<20; w.mirrors[prefix].sent > most {
					t.Errorf("%s sent %d bytes, more than %d", prefix, w.mirrors[prefix].sent, most)
				}
				if w.mirrors[prefix].sent < 80e6 {
					t.Errorf("%s sent %d bytes only", prefix, w.mirrors[prefix].sent)
				}
			})
		}
		fast, slow := w.v.Report()["fast"], w.v.Report()["slow"]
		if fast.Slow || fast.Speed < 15e6 || fast.Speed > 25e6 || !slow.Slow || slow.Speed < 600e3 || slow.Speed > 800e3 {
			t.Errorf("fast: %+v\nslow: %+v", fast, slow)
		}
		w.do(func() { w.mirrors["fast"].speed, w.mirrors["third"].speed = 700e3, 700e3 })
		w.v.mu.Lock()
		for _, m := range w.v.mirrors {
			m.done.Clear()
		}
		w.v.mu.Unlock()
		time.Sleep(10 * time.Minute)
		if r := w.v.Report()["slow"]; r.Slow || r.Speed > 800e3 {
			t.Errorf("while all mirrors are slow: %+v", r)
		}
	})
}

// TestEvidenceIsBounded keeps the newest proofs, but few of one mirror.
func TestEvidenceIsBounded(t *testing.T) {
	t.Parallel()
	v := New(Options{Evidence: filepath.Join(t.TempDir(), "evidence")})
	for i := range maxEvidence + 5 {
		v.saveEvidence(&evidence{At: time.Unix(int64(i), 0), Mirror: fmt.Sprint(i % 20)})
	}
	names, _ := filepath.Glob(filepath.Join(v.Evidence, "*.json"))
	if len(names) != maxEvidence || !strings.Contains(names[0], "19700101T000005") {
		t.Errorf("%d are kept, the first is %s", len(names), names[0])
	}
	for i := range maxEvidence {
		v.saveEvidence(&evidence{At: time.Unix(int64(1000+i), 0), Mirror: "bad"})
	}
	names, _ = filepath.Glob(filepath.Join(v.Evidence, "*.json"))
	if len(names) != maxEvidence || !strings.Contains(names[maxEvidence-maxEvidenceOfMirror], "19700101T001810") ||
		!strings.Contains(names[maxEvidence-maxEvidenceOfMirror-1], "19700101T000144") {
		t.Errorf("of one mirror among others %v are kept", names)
	}
}

// TestTwoHosts has one of two hosts of a mirror send a wrong byte: the good one does not clear the other, also after a
// restart, and a range that differs has the copy there read.
func TestTwoHosts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		state := filepath.Join(t.TempDir(), "verified")
		good, bad := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
		begin := func() *world {
			w := newWorld(t, map[string][]byte{"x.img": randomText(1, 300<<10)}, Options{StateFile: state}, "a")
			w.do(func() {
				w.mirrors["a"].badHost = bad
				w.mirrors["a"].faults = func(_ *rand.Rand, text []byte) (io.Reader, int64, error) {
					sent := bytes.Clone(text)
					sent[5] ^= 1
					return bytes.NewReader(sent), int64(len(sent)), nil
				}
			})
			w.v.Observe([]Mirror{{URLPrefix: "a", Addresses: []netip.Addr{good, good, good, good, bad}}})
			return w
		}
		w := begin()
		time.Sleep(time.Hour) // 180 ranges
		if len(w.corruptOf("a")) != 1 {
			t.Error("ranges do not find it")
		}
		w.stop()
		w = begin()
		defer w.stop()
		w.do(func() { w.noPath = true }) // no range is compared any more
		for day := range 3 {
			time.Sleep(corruptTime)
			if len(w.corruptOf("a")) != 1 {
				t.Fatalf("day %d: a good copy at another host has cleared it", day)
			}
		}
		w.v.Observe([]Mirror{{URLPrefix: "a", Addresses: []netip.Addr{good}, Down: []netip.Addr{bad}}})
		reads := w.v.Counts().Good
		time.Sleep(3 * corruptTime)
		if len(w.corruptOf("a")) != 1 || w.v.Counts().Good != reads {
			t.Error("the bad host is down, and a good copy at another one has cleared it, or was read")
		}
		w.v.Observe([]Mirror{{URLPrefix: "a", Addresses: []netip.Addr{good}}})
		time.Sleep(corruptTime)
		if len(w.corruptOf("a")) != 0 {
			t.Error("the bad host is gone, and what was found there is not")
		}
	})
}

// TestWrongParts has a mirror send wrong parts of a large file, which is right as a whole: that does not keep the
// others from being read.
func TestWrongParts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		origin := map[string][]byte{"large": randomText(1, 8<<20)}
		for i := range 20 {
			origin[fmt.Sprintf("small/%d", i)] = randomText(uint64(i), 1000)
		}
		w := newWorld(t, origin, Options{}, "a")
		defer w.stop()
		w.do(func() {
			w.newest["large"] = true
			w.mirrors["a"].speed = 300e3 // a range is compared while it is read
			w.mirrors["a"].faults = func(_ *rand.Rand, text []byte) (io.Reader, int64, error) {
				if len(text) == rangeSize {
					text = randomText(9, rangeSize)
				}
				return bytes.NewReader(text), int64(len(text)), nil
			}
		})
		time.Sleep(20 * time.Minute)
		if r := w.v.Report()["a"]; r.Verified < 20 {
			t.Errorf("%+v, and the large file was read %d times", r, w.mirrors["a"].reads["large"])
		}
	})
}

// TestOriginHangs has the fallback give no answer: copies are verified by their checksums still, and ranges once it is
// back.
func TestOriginHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, map[string][]byte{"x.img": randomText(1, 300<<10)}, Options{}, "a", "b")
		defer w.stop()
		w.do(func() { w.hangs, w.noPath = true, true })
		w.flip("b", "x.img", 9)
		time.Sleep(retryTime + 10*time.Minute)
		if diff := cmp.Diff([]string{"x.img"}, w.corruptOf("b")); diff != "" {
			t.Errorf("corrupt: -want +got:\n%s", diff)
		}
		w.do(func() { w.hangs, w.noPath = false, false })
		before := w.v.Counts().Samples
		time.Sleep(10 * time.Minute)
		if w.v.Counts().Samples == before {
			t.Error("no range is compared once the origin is back")
		}
	})
}

// TestFasterAgain has a mirror that was slow be faster once all its files are read: it is not held slow for long. While
// none is read, none is slow.
func TestFasterAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, fiveFiles(2<<20), Options{Settings: Settings{Rate: 10e6, MinRate: 1e6}}, "a", "b", "c")
		defer w.stop()
		w.do(func() { w.mirrors["a"].speed = 500e3 })
		time.Sleep(time.Hour)
		if r := w.v.Report()["a"]; !r.Slow || r.Verified != 5 {
			t.Fatalf("%+v", r)
		}
		reads := 0
		w.do(func() { reads = w.mirrors["b"].reads["stable/1.img"]; w.mirrors["a"].speed = 10e6 })
		time.Sleep(2 * time.Hour)
		if r := w.v.Report()["a"]; r.Slow {
			t.Errorf("%+v", r)
		}
		if n := w.mirrors["b"].reads["stable/1.img"]; n != reads {
			t.Errorf("a mirror that is fast is read %d times for its speed", n-reads)
		}
		w.do(func() { w.mirrors["b"].speed = 500e3 })
		w.readAllAgain()
		time.Sleep(10 * time.Minute)
		if !w.v.Report()["b"].Slow {
			t.Fatalf("%+v", w.v.Report()["b"])
		}
		w.v.SetSettings(Settings{MinRate: 1e6})
		if w.v.Report()["b"].Slow {
			t.Error("a mirror is slow while none is read")
		}
	})
}
