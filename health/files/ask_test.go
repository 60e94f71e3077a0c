package files

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestAsk: an answer is asked for once, kept, and given again by the mirror when it is due.
func TestAsk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Settings{OnDemand: true}, nil, "web1", "web2", "web3")
		defer w.stop()
		w.do(func() { w.trees["web1"] = tree(); w.trees["web2"] = map[string]int64{} })
		var clients sync.WaitGroup
		for range 20 {
			clients.Go(func() { w.ask("old.iso", "web1", "web2") })
		}
		clients.Wait()
		w.want("old.iso", "has lacks unknown")
		w.ask("old.iso", "web1", "web2")
		if w.heads[prefixOf("web1")+"old.iso"] != 1 || w.heads[prefixOf("web2")+"old.iso"] != 1 {
			t.Errorf("asked %v, want each once", w.heads)
		}
		after(lacksFor)
		w.want("old.iso", "has unknown unknown")
		w.ask("old.iso", "web2")
		after(lacksFor + time.Second)
		w.want("old.iso", "has lacks unknown") // kept twice as long
		w.do(func() { w.traces["web1"] = time.Unix(9, 0) })
		w.observe(time.Unix(9, 0))
		w.want("old.iso", "unknown lacks unknown")
		w.ask("old.iso", "web1") // it may have lost the file
		w.want("old.iso", "has lacks unknown")
	})
}

// TestAskIsLimited: a mirror is asked maxQuestion times a second, and a client waits AskTime at most.
func TestAskIsLimited(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Settings{OnDemand: true}, nil, "web1", "web2")
		defer w.stop()
		var clients sync.WaitGroup
		for i := range 100 {
			clients.Go(func() { w.ask(fmt.Sprint("file", i), "web1") })
		}
		clients.Wait()
		synctest.Wait()
		if n := len(w.heads); n < 2*maxQuestion-1 || n > 2*maxQuestion {
			t.Errorf("%d questions within a second, want %d at once, and as many within the second", n, maxQuestion)
		}
		w.do(func() { w.hang = true })
		if waited := w.ask("other", "web2"); waited != AskTime {
			t.Errorf("waited %v", waited)
		}
		after(headTime)
		w.want("other", "unknown unknown")
		if k := w.catalog.Find("other", time.Now()); Contains(k.Any, w.catalog.Number(prefixOf("web2"))) {
			t.Error("a mirror that gives no answer competes with one that was not asked")
		}
	})
}

// TestBusyMirror: one that limits how often it may be asked is left alone for a while.
func TestBusyMirror(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Settings{OnDemand: true}, nil, "web")
		defer w.stop()
		w.do(func() { w.busy = true })
		for i := range 50 {
			w.ask(fmt.Sprint("file", i), "web")
			after(time.Second)
		}
		if len(w.heads) != 1 {
			t.Errorf("asked %d times", len(w.heads))
		}
		after(busyFor)
		if w.ask("another", "web"); len(w.heads) != 2 {
			t.Errorf("asked %d times after a minute", len(w.heads))
		}
	})
}

// TestVerify: a miss clears the bit, and what the web server says outweighs the listing.
func TestVerify(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Settings{Origin: "/origin", OnDemand: true}, tree(), "a", "b")
		defer w.stop()
		after(time.Hour)
		if !w.catalog.WantsSample(time.Now()) || w.catalog.WantsSample(time.Now()) {
			t.Error("want one sample a second")
		}
		before := w.listings["a"]
		w.do(func() { delete(w.trees["a"], "old.iso") })
		w.catalog.Verify("old.iso", Candidate{w.catalog.Number(prefixOf("a")), prefixOf("a") + "old.iso",
			netip.MustParseAddr("192.0.2.1")})
		after(time.Second)
		w.want("old.iso", "lacks has")
		if w.listings["a"] == before {
			t.Error("a miss starts no listing")
		}
	})
}

// TestSlowAnswer: that a mirror lacked a file before it was listed with it does not count.
func TestSlowAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Settings{Origin: "/origin", OnDemand: true}, tree(), "a")
		defer w.stop()
		a := w.catalog.Number(prefixOf("a"))
		q := question{hashPath("old.iso"), a}
		if w.catalog.answers.begin(q, 1, time.Now(), true, nil) != begun {
			t.Fatal("no question")
		}
		asked := time.Now().Add(-time.Second) // before the listing
		w.catalog.answered(q, asked, 0, fs.ErrNotExist)
		w.want("old.iso", "has")
	})
}

// TestPublishes: the origin is asked once for a path, also by many clients, and the answer is kept for a while.
func TestPublishes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Settings{Origin: "/origin"}, tree(), "a")
		defer w.stop()
		for range 10 {
			if err := w.catalog.Publishes(t.Context(), "nothing"); !errors.Is(err, fs.ErrNotExist) {
				t.Error(err)
			}
		}
		if w.heads["origin/nothing"] != 1 {
			t.Errorf("the origin was asked %d times", w.heads["origin/nothing"])
		}
		w.do(func() { w.origin["nothing"] = 5 })
		after(originFor)
		if err := w.catalog.Publishes(t.Context(), "nothing"); err != nil {
			t.Errorf("just published: %v", err)
		}
		after(2 * minPause)
		if got := w.catalog.Find("nothing", time.Now()).Status; got != Published {
			t.Errorf("status %v: the origin was not read again", got)
		}
	})
}

// TestOriginIsNotHammered: clients that make up paths have the origin asked, and read, no more often than it may be.
func TestOriginIsNotHammered(t *testing.T) {
	t.Parallel()
	for origin, most := range map[string]int{"/origin": folderRate, "rsync://origin/pub/": networkRate, "https://origin/SUMS": networkRate} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, Settings{Origin: origin}, tree(), "a")
			defer w.stop()
			after(time.Minute)
			for second := range 10 {
				for i := range 500 {
					err := w.catalog.Publishes(t.Context(), fmt.Sprint("made-up-", second, "-", i))
					if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrOriginBusy) {
						t.Fatal(err)
					}
				}
				after(time.Second)
			}
			if n := len(w.heads); n < 10*most || n > 11*most {
				t.Errorf("%s was asked for %d paths in 10 s, want %d a second", origin, n, most)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Settings{Origin: "/origin"}, tree(), "a")
		defer w.stop()
		w.do(func() { w.readTime = time.Minute })
		after(3 * time.Minute)
		reads := w.readsNow()
		for i := range 60 { // each is there, and passed over by what reads the origin
			w.do(func() { w.unread = fmt.Sprint("unread-", i) })
			if err := w.catalog.Publishes(t.Context(), fmt.Sprint("unread-", i)); err != nil {
				t.Fatal(err)
			}
			after(time.Minute)
		}
		if again := w.readsNow() - reads; again > 2 {
			t.Errorf("the origin was read %d times in an hour, for a minute each", again)
		}
	})
}

// TestNewFilesWithoutOrigin: a mirror that is asked for a file all the time is used for it within a minute of having
// it.
func TestNewFilesWithoutOrigin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Settings{OnDemand: true}, tree(), "a", "web")
		defer w.stop()
		ask := func(d time.Duration) {
			for range d / (5 * time.Second) {
				w.ask("new.iso", "a", "web")
				after(5 * time.Second)
			}
		}
		w.do(func() { w.trees["a"]["new.iso"] = 5 })
		ask(time.Hour)
		w.do(func() { w.trees["web"]["new.iso"] = 5 })
		ask(maxNewLacksFor + 5*time.Second)
		w.want("new.iso", "has has")
	})
}
