package files

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var testTime = time.Unix(1_800_000_000, 0)

// collected returns the universe that a collector has come to.
func collected(c *Collector) *Universe {
	u, _ := (&Universe{}).update(sortRecords(c.records), c.HasTimes)
	return u
}

func newCollector() *Collector { return &Collector{before: &Universe{}} }

func TestReadFolder(t *testing.T) {
	t.Parallel()
	dir, outside := t.TempDir(), t.TempDir()
	for _, name := range []string{filepath.Join(outside, "secret"), filepath.Join(dir, "a/b/image.iso"), filepath.Join(dir, "top")} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte("12345"), 0o600),
			os.Chtimes(name, testTime, testTime)); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{
		"latest": "a/b", "a/loop": "..", "a/same": ".", "escape": outside, "up": "../..", "dangling": "nothing", "a/file": "../top",
	} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	c := newCollector()
	c.HasTimes = true
	if err := ReadFolder(t.Context(), dir, c); err != nil {
		t.Fatal(err)
	}
	u := collected(c)
	for path, want := range map[string]bool{
		"top": true, "a/b/image.iso": true, "latest/image.iso": true, "a/file": true,
		"escape/secret": false, "a/loop/top": false, "a/same/b/image.iso": false, "dangling": false, "up": false,
	} {
		if _, ok := u.find(hashPath(path)); ok != want {
			t.Errorf("%s is %v, want %v", path, ok, want)
		}
	}
	if n, ok := u.find(hashPath("a/b/image.iso")); !ok || u.files[n] != (file{5, uint32(testTime.Unix()), regular}) {
		t.Errorf("image.iso is %+v", u.files[n])
	}
	if n, ok := u.find(hashPath("latest")); !ok || u.files[n].kind != folder {
		t.Error("a link to a folder is no folder")
	}
	if err := ReadFolder(t.Context(), filepath.Join(dir, "nothing"), newCollector()); err == nil {
		t.Error("a folder that is not there is read")
	}
}

func TestStatFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := StatFolder(dir, "file"); err != nil {
		t.Error(err)
	}
	for _, path := range []string{"nothing", "file/below", "../../etc/passwd"} {
		if err := StatFolder(dir, path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if err := StatFolder(filepath.Join(dir, "gone"), "file"); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("without the folder: %v, want an error that says nothing of the file", err)
	}
}

var digest = strings.Repeat("0123abcd", 8)

func TestReadSums(t *testing.T) {
	t.Parallel()
	text := "# a comment\n\n" + digest + "  a/image.iso\n" + digest + " *./b\r\n\\" + digest + "  odd\\\\name\n" + digest +
		"  two words\n"
	c := newCollector()
	if err := ReadSums(strings.NewReader(text), c); err != nil {
		t.Fatal(err)
	}
	u := collected(c)
	if want := numbersOf(u, "a/image.iso", "b", `odd\name`, "two words"); want.GetCardinality() != 4 || u.Len() != 4 {
		t.Errorf("%v of %d files", want, u.Len())
	}
	for name, text := range map[string]string{
		"no digest":  "hello  world\n",
		"short":      "abcd  file\n",
		"no path":    digest + "\n",
		"HTML":       "<html><body>not found</body></html>\n",
		"climbing":   digest + "  ../../etc/passwd\n",
		"absolute":   digest + "  /etc/passwd\n",
		"long line":  digest + "  " + strings.Repeat("x", 70_000) + "\n",
		"long path":  digest + "  " + strings.Repeat("x", maxPath+1) + "\n",
		"no newline": strings.Repeat("0", 70_000),
	} {
		if err := ReadSums(strings.NewReader(text), newCollector()); !errors.Is(err, ErrListing) {
			t.Errorf("%s: %v, want it refused", name, err)
		}
	}
}

// TestCollectorIsBounded: more files than MaxFiles, or sizes below zero, refuse the list.
func TestCollectorIsBounded(t *testing.T) {
	t.Parallel()
	c := newCollector()
	c.added = MaxFiles
	if err := c.Add("one/more", 1, 0); !errors.Is(err, ErrListing) {
		t.Errorf("%v for too many files", err)
	}
	if err := newCollector().Add("file", -2, 0); !errors.Is(err, ErrListing) {
		t.Errorf("%v for a negative size", err)
	}
	c = newCollector()
	c.HasTimes = true
	for i := range maxNews + 100 {
		if err := c.Add(fmt.Sprint("file", i), 1, uint32(i)); err != nil {
			t.Fatal(err)
		}
	}
	if len(c.news) != maxNews || len(c.newest) != maxNewest || c.newest[0].Time != maxNews+99 {
		t.Errorf("%d news, %d newest, the first of %d", len(c.news), len(c.newest), c.newest[0].Time)
	}
}

// FuzzReadSums: whatever a list holds, it is refused or comes to files that clients can ask for.
func FuzzReadSums(f *testing.F) {
	f.Add(digest + "  a/image.iso\n" + digest + " *b\n")
	f.Add("\\" + digest + "  a\\nb\n")
	f.Add(digest + "  ../a\n")
	f.Fuzz(func(t *testing.T, text string) {
		c := newCollector()
		if err := ReadSums(strings.NewReader(text), c); err == nil && len(c.records) > strings.Count(text, "\n")+1 {
			t.Errorf("%d files in %q", len(c.records), text)
		}
		checkNews(t, c)
	})
}

// FuzzListing: whatever a daemon lists, no path that climbs gets into a universe or a row.
func FuzzListing(f *testing.F) {
	f.Add("a/b", int64(5), uint32(1000), "c")
	f.Add("../a", int64(-1), uint32(0), "/etc")
	f.Add("a\x00b", int64(1)<<62, ^uint32(0), strings.Repeat("x/", 3000))
	f.Fuzz(func(t *testing.T, path string, size int64, modified uint32, other string) {
		c := newCollector()
		c.HasTimes = true
		errFirst, errOther := c.Add(path, size, modified), c.Add(other, size, modified)
		checkNews(t, c)
		u := collected(c)
		l := newListing(u)
		if err := errors.Join(l.add(path, size, modified), l.add(other, size, modified)); err == nil && errFirst == nil &&
			errOther == nil {
			if r := l.row(testTime); int(r.has.GetCardinality()) != u.Len() {
				t.Errorf("a mirror with the same files carries %d of %d", r.has.GetCardinality(), u.Len())
			}
		}
	})
}

func checkNews(t *testing.T, c *Collector) {
	t.Helper()
	for _, f := range c.news {
		if usable, err := checkPath(f.Path); !usable || err != nil || f.Size < unknownSize {
			t.Errorf("took in %q with size %d", f.Path, f.Size)
		}
	}
}
