package checksums

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// An origin is a folder in memory, and a store of its checksums that runs.
type origin struct {
	store *Store
	logs  *observer.ObservedLogs
	stop  func()

	mu    sync.Mutex
	texts map[string]string
	times map[string]uint32
	opens map[string]int
	fails map[string]error
}

func newOrigin(t *testing.T, rate int64, state string) *origin {
	o := &origin{texts: map[string]string{}, times: map[string]uint32{}, opens: map[string]int{}, fails: map[string]error{}}
	var core zapcore.Core
	core, o.logs = observer.New(zap.InfoLevel)
	o.store = NewStore(Options{
		Settings: Settings{
			Wanted: func(path string, _ int64) bool { return strings.HasSuffix(path, ".img") }, Rate: rate, ReadsLists: true,
		},
		Open: o.open, StateFile: state, Log: zap.New(core), Now: time.Now,
	})
	o.store.LoadState()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- o.store.Run(ctx) }()
	o.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	return o
}

// An openFile is a file whose status is that of the origin.
type openFile struct {
	io.Reader
	of   *origin
	path string
}

func (f *openFile) Close() error               { return nil }
func (f *openFile) Stat() (fs.FileInfo, error) { return f, nil }
func (f *openFile) Name() string               { return f.path }
func (f *openFile) Mode() fs.FileMode          { return 0 }
func (f *openFile) IsDir() bool                { return false }
func (f *openFile) Sys() any                   { return nil }

func (f *openFile) Size() int64 {
	f.of.mu.Lock()
	defer f.of.mu.Unlock()
	return int64(len(f.of.texts[f.path]))
}

func (f *openFile) ModTime() time.Time {
	f.of.mu.Lock()
	defer f.of.mu.Unlock()
	return time.Unix(int64(f.of.times[f.path]), 0)
}

func (o *origin) open(_ context.Context, path string) (io.ReadCloser, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.opens[path]++
	if err := o.fails[path]; err != nil {
		return nil, err
	}
	return &openFile{strings.NewReader(o.texts[path]), o, path}, nil
}

// put has the origin publish a file.
func (o *origin) put(path, text string, time uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.texts[path], o.times[path] = text, time
}

// list has the store read what the origin has, and waits until nothing is left to do now.
func (o *origin) list() {
	l := o.store.NewListing()
	for path, text := range o.texts {
		l.Add(path, int64(len(text)), o.times[path], nil)
	}
	o.store.Take(l)
	synctest.Wait()
}

// wantSum wants a checksum of a file, or none.
func (o *origin) wantSum(t *testing.T, path, want string) {
	t.Helper()
	got := ""
	if f := o.store.FindPath(path); f != nil && f.Sum() != nil {
		got = f.Sum().String()
	}
	if got != want {
		t.Errorf("%s has the checksum %q, want %q", path, got, want)
	}
}

func hexOf(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }

// TestPublishedSums takes checksums from lists, which may be older than the files or come later.
func TestPublishedSums(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t, 0, "")
		defer o.stop()
		o.put("a/x.img", "x", 100)
		o.put("a/late.img", "y", 300)
		o.put("a/none.txt", "z", 100)
		o.put("a/SHA256SUMS", hexA+"  x.img\n"+hexB+"  late.img\n"+hexB+"  none.txt\n", 200)
		o.put("a/SHA512SUMS", long+"  x.img\n", 200)
		o.list()
		o.wantSum(t, "a/x.img", hexA) // SHA-256 before SHA-512
		o.wantSum(t, "a/late.img", "")
		o.wantSum(t, "a/none.txt", "")

		o.put("a/late.img.sha256", hexB+"\n", 400)
		o.list()
		o.wantSum(t, "a/late.img", hexB)
		if n := o.opens["a/SHA256SUMS"]; n != 1 {
			t.Errorf("a list that tells of nothing new is read %d times, want once", n)
		}
		o.put("a/new.img", "n", 150)
		o.put("b/other.img", "n", 150)
		o.list()
		if n := o.opens["a/SHA256SUMS"]; n != 2 {
			t.Errorf("with a new file in its folder, the list has been read %d times, want 2", n)
		}
		o.put("a/x.img", "changed", 500)
		o.list()
		o.wantSum(t, "a/x.img", "")
		o.put("a/SHA256SUMS", hexB+"  x.img\n", 600)
		o.list()
		o.wantSum(t, "a/x.img", hexB)
		delete(o.texts, "a/x.img")
		o.list()
		o.wantSum(t, "a/x.img", "")
	})
}

// TestUnreadableList is tried again, and said once.
func TestUnreadableList(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t, 0, "")
		defer o.stop()
		o.put("x.img", "x", 100)
		o.put("SHA256SUMS", hexA+"  x.img\n", 200)
		o.fails["SHA256SUMS"] = fs.ErrPermission
		o.list()
		time.Sleep(3 * retryAfter)
		o.wantSum(t, "x.img", "")
		if _, problems := o.store.Unread(); len(problems) != 1 || !strings.HasPrefix(problems[0], "SHA256SUMS: ") {
			t.Errorf("problems: %q", problems)
		}
		o.mu.Lock()
		delete(o.fails, "SHA256SUMS")
		o.mu.Unlock()
		time.Sleep(retryAfter + saveEvery)
		o.wantSum(t, "x.img", hexA)
		if n := o.logs.FilterMessage("cannot read a list of checksums of the origin").Len(); n != 1 {
			t.Errorf("the same problem is logged %d times, want once", n)
		}
	})
}

// TestHashing hashes at a rate what has no checksum, the newest first, once; not what is changed meanwhile.
func TestHashing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		state := filepath.Join(t.TempDir(), "checksums")
		o := newOrigin(t, 1000, state)
		old, recent := strings.Repeat("o", 10_000), strings.Repeat("r", 5_000)
		o.put("old.img", old, 100)
		o.put("recent.img", recent, 200)
		o.put("given.img", "given", 50)
		o.put("SHA256SUMS", hexA+"  given.img\n", 300)
		o.list()
		o.wantSum(t, "given.img", hexA)
		time.Sleep(6 * time.Second)
		o.wantSum(t, "recent.img", hexOf(recent))
		o.wantSum(t, "old.img", "")
		o.put("old.img", strings.Repeat("n", 10_000), 400) // while it is read
		time.Sleep(10 * time.Second)
		o.wantSum(t, "old.img", "")
		o.list()
		time.Sleep(11 * time.Second)
		o.wantSum(t, "old.img", hexOf(strings.Repeat("n", 10_000)))
		o.stop()

		again := newOrigin(t, 1000, state)
		defer again.stop()
		again.texts, again.times = o.texts, o.times
		again.wantSum(t, "old.img", hexOf(strings.Repeat("n", 10_000))) // before the origin is read
		again.list()
		time.Sleep(time.Minute)
		if again.opens["old.img"]+again.opens["recent.img"] > 0 {
			t.Errorf("files are hashed again after a restart: %v", again.opens)
		}
		again.put("SHA256SUMS", hexB+"  recent.img\n", 500)
		again.list()
		again.wantSum(t, "recent.img", hexOf(recent))
		if again.logs.FilterMessage("the origin's file does not have the checksum that the origin publishes").Len() != 1 {
			t.Errorf("a wrong published checksum is not logged: %v", again.logs.All())
		}
	})
}

// TestListedSums takes checksums that come with the files, and other ones later.
func TestListedSums(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, 0, "")
	defer o.stop()
	for _, digest := range []string{hexA, hexB} {
		sum, _ := ParseSum(digest)
		l := o.store.NewListing()
		l.Add("x.img", -1, 0, &sum)
		o.store.Take(l)
		o.wantSum(t, "x.img", digest)
	}
	o.store.Forget()
	o.wantSum(t, "x.img", "")
}

// TestBoundedListing keeps the newest of too many files.
func TestBoundedListing(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, 0, "")
	defer o.stop()
	l := o.store.NewListing()
	for i := range 2*MaxFiles + 10 {
		l.Add(fmt.Sprintf("%d.img", i), 1, uint32(i), nil)
		l.Add(fmt.Sprintf("%d.img.sha256", i), 1, uint32(i), nil)
	}
	if len(l.files) > MaxFiles+10 || len(l.lists) != MaxFiles {
		t.Errorf("%d files and %d lists are held, want no more than %d of each", len(l.files), len(l.lists), MaxFiles)
	}
	o.store.Take(l)
	if got := len(*o.store.byPath.Load()); got != MaxFiles || o.store.FindPath(fmt.Sprintf("%d.img", 2*MaxFiles+9)) == nil ||
		o.store.FindPath("9.img") != nil {
		t.Errorf("%d files are kept, want the newest %d", got, MaxFiles)
	}
	warned := func() int { return o.logs.FilterMessageSnippet("only the newest have checksums").Len() }
	if o.store.Forget(); warned() != 1 {
		t.Errorf("%d warnings of too many files, want 1", warned())
	}
}

// TestOtherSettings has files hashed once there is a rate for it, without a new listing.
func TestOtherSettings(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t, 0, "")
		defer o.stop()
		o.put("x.img", "x", 100)
		o.list()
		time.Sleep(time.Hour)
		o.wantSum(t, "x.img", "")
		next := o.store.Settings
		next.Rate = 1000
		o.store.SetSettings(next)
		time.Sleep(time.Second)
		o.wantSum(t, "x.img", hexOf("x"))
	})
}

// TestFiles lists the files with a checksum, the newest first.
func TestFiles(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, 0, "")
	defer o.stop()
	sum, _ := ParseSum(hexA)
	l := o.store.NewListing()
	for i, path := range []string{"old.img", "new.img", "b.img", "a.img", "none.img"} {
		given := &sum
		if path == "none.img" {
			given = nil
		}
		l.Add(path, 1, uint32([]int{1, 9, 5, 5, 10}[i]), given)
	}
	o.store.Take(l)
	var paths []string
	for _, f := range o.store.Files() {
		paths = append(paths, f.Path)
	}
	if got := strings.Join(paths, " "); got != "new.img a.img b.img old.img" {
		t.Errorf("files: %s", got)
	}
}

// TestNothingWanted adds to a listing that wants nothing, as when there is no origin any more.
func TestNothingWanted(t *testing.T) {
	t.Parallel()
	var l Listing
	l.Add("x.img", 1, 1, nil)
	l.Add("SHA256SUMS", 1, 1, nil)
	if len(l.files)+len(l.lists) > 0 {
		t.Errorf("taken in: %v, %v", l.files, l.lists)
	}
}

// TestWhichListsAreRead reads a list of one file for that file alone, and others for files in their folder.
func TestWhichListsAreRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t, 0, "")
		defer o.stop()
		o.put("a/x.img", "x", 100)
		for _, list := range []string{"SHA256SUMS", "a/SHA256SUMS", "b/SHA256SUMS", "a/x.img.sha256", "a/x.txt.sha256"} {
			o.put(list, hexA+"\n", 200)
		}
		o.put("a/release.sha256", hexA+"  y.img\n"+hexA+"  y.txt\n"+hexA+"  z.txt\n", 200)
		o.list()
		o.put("a/y.img", "y", 100)
		o.list()
		o.wantSum(t, "a/y.img", hexA)
		for list, want := range map[string]int{
			"SHA256SUMS": 2, "a/SHA256SUMS": 2, "b/SHA256SUMS": 1, "a/x.img.sha256": 1, "a/x.txt.sha256": 0, "a/release.sha256": 2,
		} {
			if got := o.opens[list]; got != want {
				t.Errorf("%s is read %d times, want %d", list, got, want)
			}
		}
	})
}

// TestUnreadableFile is tried again after a while, and with the next listing.
func TestUnreadableFile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t, 1000, "")
		defer o.stop()
		o.put("x.img", "x", 100)
		o.fails["x.img"] = fs.ErrPermission
		o.list()
		o.list()
		if n := o.opens["x.img"]; n != 2 {
			t.Errorf("it was tried %d times, want once for each listing", n)
		}
		time.Sleep(retryAfter - time.Second)
		if n := o.opens["x.img"]; n != 2 {
			t.Errorf("it was tried %d times, want no more than twice yet", n)
		}
		o.mu.Lock()
		delete(o.fails, "x.img")
		o.mu.Unlock()
		time.Sleep(saveEvery + time.Second)
		o.wantSum(t, "x.img", hexOf("x"))
	})
}

// TestChangedWithinASecond hashes a file that is written to within the second of its time.
func TestChangedWithinASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t, 1000, "")
		defer o.stop()
		now := uint32(time.Now().Unix())
		o.put("x.img", "a", now)
		o.put("future.img", "f", now+1000)
		o.list()
		time.Sleep(time.Second / 2)
		o.put("x.img", "b", now)
		time.Sleep(3 * time.Second)
		o.wantSum(t, "x.img", hexOf("b"))
		o.wantSum(t, "future.img", hexOf("f"))
	})
}

// TestListsWhileHashing has a list read at once while a large file is hashed, and that file's own checksum be taken
// from it, without the rest of the file being read.
func TestListsWhileHashing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin(t, readSize, "")
		defer o.stop()
		o.put("large.img", strings.Repeat("x", 100*readSize), 100)
		o.put("small.img", "x", 90)
		o.list()
		time.Sleep(10 * time.Second)
		o.put("small.img.sha256", hexA+"\n", 200)
		o.list()
		time.Sleep(3 * time.Second)
		o.wantSum(t, "small.img", hexA)
		o.put("SHA256SUMS", hexB+"  large.img\n", 200)
		o.put("other.img", "y", 80)
		o.list()
		time.Sleep(5 * time.Second)
		o.wantSum(t, "large.img", hexB)
		o.wantSum(t, "other.img", hexOf("y"))
	})
}
