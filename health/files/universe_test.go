package files

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
)

// universeOf returns the universe of files with the given sizes, following another one.
func universeOf(tb testing.TB, before *Universe, sizes map[string]int64) (*Universe, change) {
	tb.Helper()
	c := &Collector{before: before, HasTimes: true, rewritten: Patterns{"*.json"}}
	for path, size := range sizes {
		if err := c.Add(path, size, 1000); err != nil {
			tb.Fatal(err)
		}
	}
	return before.update(sortRecords(c.records), true)
}

// numbersOf returns the numbers of paths.
func numbersOf(u *Universe, paths ...string) *roaring.Bitmap {
	b := roaring.New()
	for _, path := range paths {
		if n, ok := u.find(hashPath(path)); ok {
			b.Add(n)
		}
	}
	return b
}

// TestUniverseKeepsNumbers: a file keeps its number while others come and go, and the change names what is new and
// gone.
func TestUniverseKeepsNumbers(t *testing.T) {
	t.Parallel()
	first, _ := universeOf(t, &Universe{}, map[string]int64{"a": 1, "b": 2, "c": 3})
	second, diff := universeOf(t, first, map[string]int64{"a": 1, "b": 20, "d": 4})
	if a, b := numbersOf(first, "a", "b"), numbersOf(second, "a", "b"); !a.Equals(b) {
		t.Errorf("numbers %v became %v", a, b)
	}
	if want := numbersOf(second, "b", "d"); !diff.news.Equals(want) {
		t.Errorf("news %v, want %v", diff.news, want)
	}
	if want := numbersOf(first, "c"); !diff.gone.Equals(want) {
		t.Errorf("gone %v, want %v", diff.gone, want)
	}
	if second.Len() != 3 || len(second.files) != 3 {
		t.Errorf("%d files with %d numbers, want 3 with 3: that of c is free", second.Len(), len(second.files))
	}
	if same, diff := universeOf(t, second, map[string]int64{"a": 1, "b": 20, "d": 4}); !diff.isEmpty() || same.Len() != 3 {
		t.Errorf("no change is %v and %v", diff.news, diff.gone)
	}
}

// TestUniverseAgainstMap holds find and update against a map, over random changes.
func TestUniverseAgainstMap(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	u, model := &Universe{}, map[string]int64{}
	for range 50 {
		for range 200 {
			path := fmt.Sprint("f", random.IntN(3000))
			if random.IntN(3) == 0 {
				delete(model, path)
			} else {
				model[path] = random.Int64N(3)
			}
		}
		u, _ = universeOf(t, u, model)
		seen := map[uint32]bool{}
		for i := range 3000 {
			path := fmt.Sprint("f", i)
			number, ok := u.find(hashPath(path))
			size, want := model[path]
			if ok != want || ok && (u.files[number].size != size || seen[number]) {
				t.Fatalf("%s: number %d, %v, want it %v with size %d", path, number, ok, want, size)
			}
			seen[number] = ok || seen[number]
		}
	}
}

func TestPaths(t *testing.T) {
	t.Parallel()
	long := string(make([]byte, maxPath+1))
	for path, want := range map[string]string{
		"a/b": "usable", "latin\xe9": "usable", "a b": "usable", "..a": "usable",
		".": "passed over", "a//b": "passed over", "a\nb": "passed over", "": "passed over", "a/": "passed over",
		"/a": "refused", "../a": "refused", "a/../b": "refused", long: "refused",
	} {
		usable, err := checkPath(path)
		got := "passed over"
		if err != nil {
			got = "refused"
		} else if usable {
			got = "usable"
		}
		if got != want {
			t.Errorf("%.40q is %s, want %s", path, got, want)
		}
	}
}

func TestPatterns(t *testing.T) {
	t.Parallel()
	p := Patterns{"*.json", "stable/*.sig", "project/"}
	for path, want := range map[string]bool{
		"a/b.json": true, "b.json": true, "stable/x.sig": true, "testing/x.sig": false, "stable/a/x.sig": false,
		"project/trace": true, "project/a/b": true, "project": false, "b.jso": false,
	} {
		if got, compiled := p.Match(path), p.Compile().Match(path); got != want || compiled != want {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
}

// listOf returns a listing of files, each with its size and time.
func listOf(tb testing.TB, u *Universe, files map[string][2]int64) *listing {
	tb.Helper()
	l := newListing(u)
	for path, f := range files {
		if err := l.add(path, f[0], uint32(f[1])); err != nil {
			tb.Fatal(err)
		}
	}
	return l
}

func TestRow(t *testing.T) {
	t.Parallel()
	u, _ := universeOf(t, &Universe{}, map[string]int64{"a": 1, "b": 2, "c": 3, "list.json": 4})
	for name, test := range map[string]struct {
		listed     map[string][2]int64
		has, other []string
		noTimes    bool
	}{
		"complete": {map[string][2]int64{"a": {1, 1000}, "b": {2, 1001}, "c": {3, 1000}, "list.json": {4, 1000}},
			[]string{"a", "b", "c", "list.json"}, nil, false},
		"extra files":  {map[string][2]int64{"a": {1, 1000}, "x/y": {9, 9}}, []string{"a"}, nil, false},
		"partial file": {map[string][2]int64{"a": {1, 1000}, "b": {1, 2000}}, []string{"a"}, []string{"b"}, false},
		"old rewritten": {map[string][2]int64{"a": {1, 1000}, "b": {2, 1000}, "list.json": {4, 900}}, []string{"a", "b"},
			[]string{"list.json"}, false},
		"no times": {map[string][2]int64{"a": {1, 5}, "b": {2, 6}, "list.json": {4, 7}}, []string{"a", "b", "list.json"}, nil,
			true},
		"empty": {nil, nil, nil, false},
	} {
		r := listOf(t, u, test.listed).row(testTime)
		if !r.has.Equals(numbersOf(u, test.has...)) || !r.other.Equals(numbersOf(u, test.other...)) || r.NoTimes != test.noTimes {
			t.Errorf("%s: has %v, other %v, no times %v", name, r.has, r.other, r.NoTimes)
		}
	}
}

// TestRowFollows: of what is new in the universe, a row knows nothing until the mirror is listed again.
func TestRowFollows(t *testing.T) {
	t.Parallel()
	u, _ := universeOf(t, &Universe{}, map[string]int64{"a": 1, "b": 2, "c": 3})
	row := listOf(t, u, map[string][2]int64{"a": {1, 1000}, "b": {2, 1000}, "c": {3, 1000}}).row(testTime)
	next, diff := universeOf(t, u, map[string]int64{"a": 1, "b": 20, "d": 4})
	row = row.follow(&diff)
	if !row.has.Equals(numbersOf(next, "a")) || !row.pending.Equals(numbersOf(next, "b", "d")) {
		t.Errorf("has %v, pending %v", row.has, row.pending)
	}
	row = listOf(t, next, map[string][2]int64{"d": {4, 1000}}).amend(row, numbersOf(next, "d"), testTime)
	if !row.has.Equals(numbersOf(next, "a", "d")) || !row.pending.Equals(numbersOf(next, "b")) {
		t.Errorf("after a listing of d: has %v, pending %v", row.has, row.pending)
	}
	if row = row.without(slices.Max(numbersOf(next, "d").ToArray())); !row.has.Equals(numbersOf(next, "a")) {
		t.Errorf("without d: has %v", row.has)
	}
}

// TestUniverseOfFolders: folders are known and do not count, and files rewritten in place are news when their time
// changes.
func TestUniverseOfFolders(t *testing.T) {
	t.Parallel()
	build := func(before *Universe, version uint32, paths ...string) (*Universe, change) {
		c := &Collector{before: before, HasTimes: true, rewritten: Patterns{"*.json"}}
		for _, path := range paths {
			if err := c.Add(path, 5, version); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.AddFolder("stable"); err != nil {
			t.Fatal(err)
		}
		return before.update(sortRecords(c.records), true)
	}
	u, diff := build(&Universe{}, 1000, "a.iso", "list.json", "zone.txt", "gone.iso")
	if u.Len() != 4 || diff.news.GetCardinality() != 4 {
		t.Errorf("%d files, %d news", u.Len(), diff.news.GetCardinality())
	}
	next, diff := build(u, 2000, "a.iso", "list.json", "zone.txt")
	if want := numbersOf(next, "list.json"); !diff.news.Equals(want) || diff.gone.GetCardinality() != 1 {
		t.Errorf("news %v, want %v; gone %v", diff.news, want, diff.gone)
	}
	last, _ := build(next, 2000)
	if last.Len() != 0 || len(last.free) != 4 || len(last.regular().ToArray()) != 0 {
		t.Errorf("%d files, %d free numbers", last.Len(), len(last.free))
	}
	row := listOf(t, next, map[string][2]int64{"stable": {4096, 1}, "a.iso": {5, 1}, "list.json": {5, 2001}, "bad\npath": {1, 1}}).row(testTime)
	if want := numbersOf(next, "a.iso", "list.json"); !row.has.Equals(want) || row.Files != 3 {
		t.Errorf("has %v, want %v; %d files", row.has, want, row.Files)
	}
	if err := newListing(next).add("../x", 1, 1); !errors.Is(err, ErrListing) {
		t.Errorf("a path that climbs: %v", err)
	}
	sums := *next
	sums.HasTimes = false
	if row := listOf(t, &sums, map[string][2]int64{"list.json": {5, 1}}).row(testTime); row.NoTimes || row.has.GetCardinality() != 1 {
		t.Errorf("compared by time with an origin that has none: %+v", row)
	}
}

func TestSameTime(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		a, b uint32
		want bool
	}{{1000, 1000, true}, {1000, 1001, true}, {1001, 1000, true}, {1000, 1002, false}, {1002, 1000, false}, {0, ^uint32(0), true}, {1, 5000, false}} {
		if got := sameTime(test.a, test.b); got != test.want {
			t.Errorf("%d and %d: %v", test.a, test.b, got)
		}
	}
}

// TestDigest: another size or time, or a file more, is a difference; the order is not.
func TestDigest(t *testing.T) {
	t.Parallel()
	digest := func(files ...File) uint64 {
		l := newListing(&Universe{})
		for _, f := range files {
			if err := l.add(f.Path, f.Size, f.Time); err != nil {
				t.Fatal(err)
			}
		}
		return l.digest
	}
	a, b := File{"a", 1, 1}, File{"b", 2, 2}
	first := digest(a, b)
	if first != digest(b, a) {
		t.Error("the order counts")
	}
	for _, other := range [][]File{{a}, {a, {"b", 2, 3}}, {a, {"b", 3, 2}}, {a, {"c", 2, 2}}, {a, b, {"c", 1, 1}}, {a, {"b", 3, 1}}, {}} {
		if digest(other...) == first {
			t.Errorf("%v looks the same", other)
		}
	}
}

// TestRowsAreNotChanged: what was handed out stays as it is.
func TestRowsAreNotChanged(t *testing.T) {
	t.Parallel()
	u, _ := universeOf(t, &Universe{}, map[string]int64{"a": 1, "b": 2})
	row := listOf(t, u, map[string][2]int64{"a": {1, 1000}, "b": {2, 1000}}).row(testTime)
	next, diff := universeOf(t, u, map[string]int64{"b": 2, "c": 3})
	row.follow(&diff)
	row.without(0)
	if !row.has.Equals(numbersOf(u, "a", "b")) || !row.pending.IsEmpty() {
		t.Errorf("has %v, pending %v", row.has, row.pending)
	}
	followed := row.follow(&diff)
	_, diff = universeOf(t, next, map[string]int64{"b": 2})
	if again := followed.follow(&diff); !again.pending.IsEmpty() {
		t.Errorf("pending %v, of a file that is gone", again.pending)
	}
}
