package verify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cespare/xxhash/v2"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"mirrorpool/health/files/checksums"
)

// speedy returns a verifier of mirrors that send at speeds, in bytes a second; 0: not known.
func speedy(least int64, speeds map[string]float64) *Verifier {
	v := New(Options{Settings: Settings{Rate: 1, MinRate: least}, Log: zap.NewNop(), Now: time.Now, Changed: func() {}})
	for prefix, speed := range speeds {
		m := &mirror{Mirror: Mirror{URLPrefix: prefix}, done: roaring.New(), good: roaring.New(), corrupt: map[uint32]*Finding{}}
		for range enoughSpeeds {
			m.speeds.add(speed)
		}
		v.mirrors[prefix] = m
	}
	return v
}

// TestSlow has mirrors slower than they may be, and half of them so: then it is this host's line.
func TestSlow(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		least  int64
		speeds map[string]float64
		want   string
	}{
		"no least speed":         {0, map[string]float64{"a": 1, "b": 100, "c": 100}, ""},
		"one of three":           {10, map[string]float64{"a": 9, "b": 100, "c": 100}, "a"},
		"as fast as is asked":    {10, map[string]float64{"a": 10, "b": 100, "c": 100}, ""},
		"half":                   {10, map[string]float64{"a": 9, "b": 9, "c": 100, "d": 100}, ""},
		"just below half":        {10, map[string]float64{"a": 9, "b": 9, "c": 100, "d": 100, "e": 100}, "a b"},
		"of those known":         {10, map[string]float64{"a": 9, "b": 100, "c": 0, "d": 0}, ""},
		"not known":              {10, map[string]float64{"a": 0, "b": 100, "c": 100}, ""},
		"not known, beside many": {10, map[string]float64{"a": 0, "b": 100, "c": 100, "d": 100}, ""},
		"the only one":           {10, map[string]float64{"a": 9}, ""},
	} {
		v := speedy(test.least, test.speeds)
		if got := strings.Join(slices.Sorted(maps.Keys(v.Troubled())), " "); got != test.want {
			t.Errorf("%s: %q are slow, want %q", name, got, test.want)
		}
	}
}

// TestTroubled holds mirrors that serve nothing or are slow, and not those with but a corrupt file.
func TestTroubled(t *testing.T) {
	t.Parallel()
	v := speedy(10, map[string]float64{"slow": 9, "condemned": 100, "corrupt": 100, "good": 100, "better": 100})
	finding := &Finding{Path: "y"}
	v.mirrors["condemned"].condemned = finding
	v.mirrors["corrupt"].corrupt = map[uint32]*Finding{0: finding, 1: {Path: "x"}, 2: {Path: "z"}}
	if got := strings.Join(slices.Sorted(maps.Keys(v.Troubled())), " "); got != "condemned slow" {
		t.Errorf("troubled: %s", got)
	}
	if got := len(v.Report()); got != 5 {
		t.Errorf("%d mirrors are reported, want all 5", got)
	}
	if got := v.Corrupt(); len(got) != 1 || strings.Join(got["corrupt"], "") != "xyz" {
		t.Errorf("corrupt: %v", got)
	}
}

// TestPardonOfNothing has mirrors pardoned of which nothing was found, one that has left the pool with a corrupt file,
// and one that is not in the list.
func TestPardonOfNothing(t *testing.T) {
	t.Parallel()
	v := speedy(0, map[string]float64{"condemned": 1, "good": 1})
	changes := 0
	v.Options.Changed = func() { changes++ }
	v.mirrors["good"].done.Add(1)
	v.Pardon("good")
	v.Pardon("gone")
	if changes != 0 || !v.mirrors["good"].done.Contains(1) {
		t.Errorf("%d changes, and the files read are %v", changes, v.mirrors["good"].done)
	}
	v.gone["left"] = v.newMirror(time.Time{})
	v.gone["left"].condemned = &Finding{Path: "x"}
	if v.Pardon("left"); changes != 1 || v.gone["left"].condemned != nil {
		t.Errorf("%d changes, and the mirror that has left the pool is %+v", changes, v.gone["left"])
	}
	changes = 0
	v.mirrors["condemned"].condemned = &Finding{Path: "x"}
	v.mirrors["condemned"].done.Add(1)
	if v.Pardon("condemned"); changes != 1 || v.mirrors["condemned"].condemned != nil || !v.mirrors["condemned"].done.IsEmpty() {
		t.Errorf("%d changes, and the mirror is %+v", changes, v.mirrors["condemned"])
	}
}

// TestWanted counts the files that are verified; none while no mirror is read.
func TestWanted(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if n := b.v.Wanted(); n != 3 {
		t.Errorf("%d files are to be verified, want 3", n)
	}
	b.v.SetSettings(Settings{})
	if n := b.v.Wanted(); n != 0 {
		t.Errorf("%d files are to be verified without a rate, want 0", n)
	}
}

// TestSavesAgain saves what could not be saved the last time.
func TestSavesAgain(t *testing.T) {
	t.Parallel()
	v := speedy(0, map[string]float64{"a": 1})
	folder := filepath.Join(t.TempDir(), "state")
	v.StateFile, v.dirty = filepath.Join(folder, "verified"), true
	v.SaveState()
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	v.SaveState()
	if _, err := os.Stat(v.StateFile); err != nil {
		t.Error(err)
	}
}

// A bench is a verifier of a mirror m with the files 0, 1 and 2, which reads nothing by itself; "gone" is no file of
// it.
type bench struct {
	v       *Verifier
	m       *mirror
	files   []*checksums.File
	gone    *checksums.File
	logs    *observer.ObservedLogs
	now     time.Time
	changes int
}

func newBench(t *testing.T) *bench {
	b := &bench{now: time.Unix(1e9, 0)}
	var core zapcore.Core
	core, b.logs = observer.New(zap.DebugLevel)
	store := checksums.NewStore(checksums.Options{
		Settings: checksums.Settings{Wanted: func(string, int64) bool { return true }}, Log: zap.NewNop(),
	})
	listing := store.NewListing()
	for i, path := range []string{"0", "1", "2", "gone"} {
		sum, _ := checksums.NewSum(bytes.Repeat([]byte{byte(i)}, sha256.Size))
		listing.Add(path, 1000, 1, &sum)
	}
	store.Take(listing)
	b.v = New(Options{
		Settings: Settings{Rate: 1000}, Log: zap.New(core), Now: func() time.Time { return b.now }, Changed: func() { b.changes++ },
		IsNewest: func(path string) bool { return path == "2" }, Has: func(int, string) bool { return true },
		Origin:       func(context.Context, string, int64, int64) ([]byte, error) { return nil, ErrNoOrigin },
		OriginIsNear: func() bool { return false }, Random: rand.New(rand.NewPCG(1, 2)), Evidence: t.TempDir(),
	})
	for _, path := range []string{"0", "1", "2"} {
		f := store.FindPath(path)
		b.files = append(b.files, f)
		b.v.number(f)
	}
	b.gone = store.FindPath("gone")
	b.m = b.v.newMirror(b.now)
	b.m.URLPrefix = "m"
	b.v.mirrors["m"] = b.m
	return b
}

// read is a read of a file that should have its checksum.
func (b *bench) read(f *checksums.File, sum string) *reading {
	return &reading{want: f.Sum(), sum: sum, addr: netip.MustParseAddr("192.0.2.1"), at: b.now, size: 1000, speed: 5, pieces: pieces{{1}}}
}

// TestTakeBroken has a file be read again later, the sooner the more likely it has changed.
func TestTakeBroken(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.v.takeBroken(b.m, b.gone, errReset)
	if len(b.m.later) > 0 {
		t.Errorf("a file that is gone is read at %v", b.m.later)
	}
	b.v.takeBroken(b.m, b.files[0], errReset)
	b.v.takeBroken(b.m, b.files[1], fs.ErrNotExist)
	b.v.takeBroken(b.m, b.files[2], fs.ErrNotExist)
	want := map[uint32]time.Time{0: b.now.Add(retryTime), 1: b.now.Add(lackTime), 2: b.now.Add(newTime)}
	if diff := cmp.Diff(want, b.m.later); diff != "" || b.v.counts.Broken != 4 || b.logs.Len() != 4 {
		t.Errorf("%+v, %d log lines; when they are read: -want +got:\n%s", b.v.counts, b.logs.Len(), diff)
	}
	b.v.takeBroken(b.m, b.files[2], errReset)
	if b.m.later[2] != b.now.Add(retryTime) {
		t.Errorf("a file of the newest release is read at %v", b.m.later[2])
	}
}

// TestSuspect keeps which copies differ while it is not known what is right, and where.
func TestSuspect(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.v.suspect(b.m, b.gone, b.read(b.gone, "a"))
	if !b.m.suspects.IsEmpty() || len(b.m.later) > 0 || b.logs.Len() > 0 {
		t.Error("a file that is gone is suspected")
	}
	b.m.done.Add(1)
	b.v.dirty = false
	b.v.suspect(b.m, b.files[1], b.read(b.files[1], "a"))
	if b.v.counts.Broken != 2 || !b.v.dirty || !b.m.done.IsEmpty() || len(b.m.speeds) != 2 || !b.m.suspects.Contains(1) || b.m.later[1] != b.now.Add(retryTime) ||
		b.m.places[1] != netip.MustParseAddr("192.0.2.1") || b.logs.FilterLevelExact(zap.WarnLevel).Len() != 1 {
		t.Errorf("%+v, %+v", b.v.counts, b.m)
	}
	b.v.mirrors["other"] = b.v.newMirror(b.now)
	b.v.confirmSuspects(b.files[0])
	b.v.confirmSuspects(b.gone)
	if b.m.urgent != nil || !b.m.suspects.Contains(1) {
		t.Error("a suspect is read again for another file")
	}
	b.v.rest()
	b.m.next = b.now.Add(time.Hour)
	b.v.confirmSuspects(b.files[1])
	if b.m.urgent != b.files[1] || !b.m.suspects.IsEmpty() || len(b.m.later) > 0 || !b.m.next.IsZero() || len(b.v.wake) != 1 {
		t.Errorf("%+v", b.m)
	}
	if other := b.v.mirrors["other"]; other.urgent != nil {
		t.Error("a mirror that is not suspected is read")
	}
}

// rest empties the channel that has Run look what is due.
func (v *Verifier) rest() {
	select {
	case <-v.wake:
	default:
	}
}

// TestTakeGood forgets what was wrong with a copy, and nothing for a file that is gone.
func TestTakeGood(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.v.takeGood(b.m, b.gone, b.read(b.gone, ""))
	if b.v.counts.Good != 0 || !b.m.done.IsEmpty() || len(b.v.pieces) > 0 {
		t.Errorf("a file that is gone counts: %+v", b.v.counts)
	}
	b.v.suspect(b.m, b.files[1], b.read(b.files[1], "a"))
	b.v.noteWrong(b.m, b.files[1], b.read(b.files[1], "a"))
	b.v.dirty = false
	b.v.takeGood(b.m, b.files[1], b.read(b.files[1], b.files[1].Sum().String()))
	if b.v.counts.Good != 1 || !b.v.dirty || len(b.m.speeds) != 2 || !b.m.done.Contains(1) || !b.m.suspects.IsEmpty() || len(b.m.later) > 0 ||
		len(b.m.wrong) > 0 || len(b.m.places) > 0 || len(b.v.pieces[b.files[1]]) != 1 || b.changes != 0 {
		t.Errorf("%+v, %+v", b.v.counts, b.m)
	}
}

// TestGoodElsewhere has a good copy at another address not clear a corrupt one, as long as the mirror has its address.
func TestGoodElsewhere(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	f, there := b.files[0], b.read(b.files[0], "a")
	elsewhere := b.read(f, f.Sum().String())
	elsewhere.addr = netip.MustParseAddr("2001:db8::1")
	b.v.accuse(t.Context(), b.m, f, there, 0, nil)
	b.m.Addresses = []netip.Addr{elsewhere.addr}
	for _, known := range []*[]netip.Addr{&b.m.Addresses, &b.m.Down} {
		*known = append(*known, there.addr)
		b.v.takeGood(b.m, f, elsewhere)
		if len(b.m.corrupt) != 1 || b.m.done.Contains(0) || b.m.later[0] != b.now.Add(retryTime) || b.v.pieces[f] == nil {
			t.Errorf("a good copy elsewhere: %+v", b.m)
		}
		*known = (*known)[:len(*known)-1]
	}
	if b.v.takeGood(b.m, f, elsewhere); len(b.m.corrupt) > 0 || !b.m.done.Contains(0) {
		t.Errorf("without that address: %+v", b.m)
	}
}

// TestVerified names the copies that were good when they were read last, also in an earlier round, until one is
// doubted.
func TestVerified(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	number := 70 // of the mirror: in the second word
	b.m.Number = number
	b.v.settings.Rate = 1
	good := func(f *checksums.File) { b.v.takeGood(b.m, f, b.read(f, f.Sum().String())) }
	isVerified := func(f *checksums.File) bool {
		bits := b.v.Verified()[xxhash.Sum64String(f.Path)]
		return len(bits) == 2 && bits[0] == 0 && bits[1] == 1<<(number-64)
	}
	f, other := b.files[1], b.files[0]
	for name, doubt := range map[string]func(){
		"another checksum":         func() { b.v.suspect(b.m, f, b.read(f, "a")) },
		"a wrong copy":             func() { b.v.noteWrong(b.m, f, b.read(f, "a")) },
		"a proof":                  func() { b.v.accuse(t.Context(), b.m, f, b.read(f, "a"), 0, nil) },
		"another size of the file": func() { b.v.forget(f, 1); b.v.number(f) },
		"a pardon of other copies": func() { b.m.corrupt[0] = &Finding{}; b.v.Pardon(b.m.URLPrefix) },
		"other files are corrupt":  func() { b.v.condemn(b.m, &Finding{Newest: true}); b.m.condemned = nil },
		"verification is off":      func() { b.v.settings.Rate = 0 },
	} {
		b.v.settings.Rate = 1
		good(f)
		if !isVerified(f) || isVerified(other) {
			t.Fatalf("before %s: %v", name, b.v.Verified())
		}
		b.m.done.Clear() // as a new round does
		if !isVerified(f) {
			t.Errorf("in a new round, before %s: %v", name, b.v.Verified())
		}
		if doubt(); isVerified(f) {
			t.Errorf("after %s: %v", name, b.v.Verified())
		}
	}
}

// TestAccuse withholds a file, and has a mirror with three such files, or one of the newest release, serve nothing
// until all are read again.
func TestAccuse(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	accuse := func(f *checksums.File, found string) {
		b.v.accuse(t.Context(), b.m, f, b.read(f, found), 0, nil)
	}
	accuse(b.gone, "a")
	if b.changes != 0 || b.v.counts.Corrupt != 0 || len(b.m.corrupt) > 0 {
		t.Errorf("a file that is gone is corrupt: %+v", b.m)
	}
	b.m.done.Add(0)
	b.m.done.Add(1)
	accuse(b.files[0], "a")
	began := b.now
	if b.changes != 1 || b.v.counts.Corrupt != 1 || !b.v.dirty || len(b.m.speeds) != 1 || b.m.done.Contains(0) || !b.m.done.Contains(1) ||
		b.m.later[0] != b.now.Add(corruptTime) || b.m.places[0] != netip.MustParseAddr("192.0.2.1") || b.m.condemned != nil ||
		b.logs.FilterLevelExact(zap.ErrorLevel).Len() != 1 {
		t.Errorf("%+v, %+v", b.v.counts, b.m)
	}
	b.now = b.now.Add(time.Hour)
	accuse(b.files[0], "b")
	if found := b.m.corrupt[0]; found.Since != began || found.Found != "b" || b.m.condemned != nil {
		t.Errorf("%+v", found)
	}
	accuse(b.files[2], "a")
	condemned := b.m.condemned
	if condemned == nil || condemned.Path != "2" || !b.m.done.IsEmpty() {
		t.Errorf("for a file of the newest release: %v, %v", condemned, b.m.done)
	}
	b.m.done.Add(1)
	if accuse(b.files[2], "b"); b.m.condemned != condemned || !b.m.done.Contains(1) {
		t.Error("it is condemned again")
	}
	names, err := os.ReadDir(b.v.Evidence)
	if err != nil || len(names) == 0 {
		t.Errorf("evidence: %v, %v", names, err)
	}
	b.changes, b.v.dirty = 0, false
	for i, want := range []int{1, 2} { // changes
		b.v.takeGood(b.m, b.files[2*i], b.read(b.files[2*i], ""))
		if b.changes != want || (b.m.condemned == nil) != (i == 1) || !b.v.dirty {
			t.Errorf("after %d good files: %d changes, condemned: %v", i+1, b.changes, b.m.condemned)
		}
	}
	if n := b.logs.FilterLevelExact(zap.InfoLevel).Len(); n != 3 {
		t.Errorf("%d log lines of what is good again, want 3", n)
	}
}

// TestThreeFiles condemns for three corrupt files of older releases, and not for two.
func TestThreeFiles(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.v.IsNewest = func(string) bool { return false }
	for i, f := range b.files {
		b.v.accuse(t.Context(), b.m, f, b.read(f, "a"), 0, nil)
		if (b.m.condemned != nil) != (i == 2) {
			t.Errorf("after %d corrupt files: %v", i+1, b.m.condemned)
		}
	}
}

// TestAcquit needs all files to be good, and at least one.
func TestAcquit(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.m.condemned = &Finding{Path: "x"}
	b.v.Has = func(int, string) bool { return false }
	if b.v.acquit(b.m) {
		t.Error("with no file read")
	}
	b.m.done.Add(0)
	if b.v.acquit(b.m) {
		t.Error("with no file that it is known to have")
	}
	b.v.Has = func(int, string) bool { return true }
	if b.v.acquit(b.m) {
		t.Error("with a file that is not read")
	}
	b.m.done.Add(1)
	b.v.wrong[b.files[2]] = true
	b.m.corrupt[1] = &Finding{}
	if b.v.acquit(b.m) {
		t.Error("with a corrupt file")
	}
	clear(b.m.corrupt)
	if !b.v.acquit(b.m) || b.v.acquit(b.m) {
		t.Error("not once, with all files read but one whose checksum is wrong")
	}
}

// TestPardonDuringRead has a read that began before a pardon prove nothing, nor a copy that was noted before.
func TestPardonDuringRead(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	f := b.files[0]
	before := b.read(f, "a")
	b.v.noteWrong(b.m, f, before)
	b.v.accuse(t.Context(), b.m, f, before, 0, nil)
	b.now = b.now.Add(time.Minute)
	b.v.rest()
	b.m.next = b.now
	b.v.Pardon("m")
	if len(b.v.wake) != 1 || !b.m.next.IsZero() || len(b.m.later) > 0 || b.logs.FilterMessageSnippet("pardoned").Len() != 1 {
		t.Errorf("its files are not read again: %+v", b.m)
	}
	b.v.accuse(t.Context(), b.m, f, before, 0, nil)
	if len(b.m.corrupt) > 0 {
		t.Error("a read from before the pardon counts")
	}
	if b.v.noteWrong(b.m, f, b.read(f, "a")) {
		t.Error("a copy from before the pardon counts")
	}
	b.v.accuse(t.Context(), b.m, f, b.read(f, "a"), 0, nil)
	if len(b.m.corrupt) != 1 {
		t.Error("a read after the pardon does not count")
	}
}

// TestNoteWrong has a copy be noted that was good before, so that it is read again, and the same one count twice.
func TestNoteWrong(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.m.done.Add(1)
	for range 2 {
		if b.v.noteWrong(b.m, b.gone, b.read(b.gone, "")) || len(b.m.wrong) > 0 {
			t.Error("a file that is gone is noted")
		}
	}
	for i, sum := range []string{"a", "b", "b"} {
		if got := b.v.noteWrong(b.m, b.files[1], b.read(b.files[1], sum)); got != (i == 2) {
			t.Errorf("copy %d: the one before was as wrong: %t", i, got)
		}
	}
	if !b.m.done.IsEmpty() || b.m.places[1] != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("%+v", b.m)
	}
}
