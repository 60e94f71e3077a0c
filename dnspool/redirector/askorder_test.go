package redirector

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mirrorpool/config"
	"mirrorpool/health/files"
)

// TestOneOfManyCarries: each file is on one mirror of many, which has no listing. Each client is sent there.
func TestOneOfManyCarries(t *testing.T) {
	t.Parallel()
	const mirrors = 32
	origin := map[string]int64{}
	carrier := func(path string) int { return listedMirrors + int(path[0]-'A') }
	for i := range mirrors - listedMirrors {
		origin[string(rune('A'+i))+".iso"] = 1
	}
	for name, c := range map[string]config.Files{
		"503": {Origin: "/o"}, "fallback": {Origin: "/o", Fallback: "https://origin.example.org/pub/"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := startFileWorld(t, c, mirrors, origin, func(i int, path string) bool { return i != carrier(path) })
				w.do(func() { w.latency = 10 * time.Millisecond })
				for path := range origin {
					if got := w.targets(path, 20); got[worldMirror(carrier(path))] != 20 {
						t.Errorf("clients that asked for %s were sent to %v", path, got)
					}
					time.Sleep(time.Second) // mirrors may be asked again
				}
			})
		})
	}
}

// TestManyNewFilesAtOnce asks for more new files in a second than a mirror may be asked for. No client is sent to a
// mirror that lacks the file, and those whose mirror may be asked within their second are sent there.
func TestManyNewFilesAtOnce(t *testing.T) {
	t.Parallel()
	const mirrors, carrier, news = 14, 13, 30
	origin := map[string]int64{}
	for i := range news {
		origin[fmt.Sprintf("new-%d.iso", i)] = 1
	}
	synctest.Test(t, func(t *testing.T) {
		w := startFileWorld(t, config.Files{Origin: "/o"}, mirrors, origin, func(i int, _ string) bool { return i != carrier })
		w.do(func() { w.latency = 10 * time.Millisecond })
		ask := func() map[string]int {
			var mu sync.Mutex
			got := map[string]int{}
			var clients sync.WaitGroup
			for path := range origin {
				clients.Go(func() {
					resp := get(w.handler, "/"+path, "198.51.100.1")
					mu.Lock()
					defer mu.Unlock()
					got[fmt.Sprint(resp.Code, strings.TrimSuffix(resp.Header().Get("Location"), path))]++
				})
			}
			clients.Wait()
			return got
		}
		there, later := "302"+worldMirror(carrier), "503"
		if got := ask(); got[there] < 5 || got[there]+got[later] != news {
			t.Errorf("clients were answered %v", got)
		}
		for range 5 {
			time.Sleep(time.Second)
			ask()
		}
		if got := ask(); got[there] != news {
			t.Errorf("after a while, clients were answered %v", got)
		}
	})
}

// TestKnownCarriersServe: while enough mirrors are known to carry a file, no client waits for those that hang or may
// not be asked now. While few are, clients wait for a moment, until it is known that a mirror hangs.
func TestKnownCarriersServe(t *testing.T) {
	t.Parallel()
	origin := map[string]int64{}
	for i := range 30 {
		origin[fmt.Sprintf("%d.iso", i)] = 1
	}
	for carriers, most := range map[int]time.Duration{1: 200 * time.Millisecond, enoughCarriers: 0} {
		synctest.Test(t, func(t *testing.T) {
			w := startFileWorld(t, config.Files{Origin: "/o"}, 8, origin, func(i int, _ string) bool {
				return i >= carriers && i < listedMirrors
			})
			w.do(func() { w.hangs, w.latency = worldMirror(7), 10*time.Millisecond })
			ask := func(path string, most time.Duration) {
				for client := range 20 {
					begin := time.Now()
					resp := get(w.handler, "/"+path, fmt.Sprintf("198.51.%d.1", client))
					if waited := time.Since(begin); waited > most {
						t.Errorf("%d carriers are known: a client waited %v for %s", carriers, waited, path)
					}
					where := strings.TrimSuffix(resp.Header().Get("Location"), path)
					if where == "" || where == worldMirror(7) || where == worldMirror(carriers) {
						t.Errorf("%d carriers are known: a client that asked for %s was sent to %q", carriers, path, where)
					}
				}
			}
			for path := range origin {
				ask(path, most)
			}
			time.Sleep(10 * time.Second)
			before := w.askedOf(7)
			ask("0.iso", 10*time.Millisecond)
			if again := w.askedOf(7) - before; again > 0 {
				t.Errorf("the mirror that hangs was asked %d times more", again)
			}
		})
	}
}

// TestFirstYesEndsTheWait: a client waits for the first mirror that carries the file, not for one that hangs. Later
// ones do not wait for that either.
func TestFirstYesEndsTheWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := startFileWorld(t, config.Files{Origin: "/o"}, 8, map[string]int64{"x.iso": 1}, func(i int, _ string) bool {
			return i < listedMirrors
		})
		w.do(func() { w.hangs, w.latency = worldMirror(7), 10*time.Millisecond })
		begin := time.Now()
		if got := w.targets("x.iso", 1); got[worldMirror(6)] != 1 || time.Since(begin) != 10*time.Millisecond {
			t.Errorf("a client was sent to %v after %v", got, time.Since(begin))
		}
		if got := w.targets("x.iso", 50); got[worldMirror(6)] != 50 || time.Since(begin) > 250*time.Millisecond {
			t.Errorf("clients were sent to %v, within %v", got, time.Since(begin))
		}
	})
}

// TestRefusedFiles has the web server of a mirror refuse what its rsync daemon lists. Once that was found out, no
// client is sent there for the file, however often the mirror is listed, until the web server gives it.
func TestRefusedFiles(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newFileWorld(t, config.Files{Origin: "/o"}, 4, map[string]int64{"old.iso": 100})
		w.do(func() { w.refuses = worldMirror(1) })
		for i := 0; w.askedOf(1) == 0; i++ { // one of the clients in each second has its mirror asked
			if get(w.handler, "/old.iso", fmt.Sprintf("198.51.%d.1", i)); i == 255 {
				t.Fatal("the mirror was not asked")
			}
			time.Sleep(time.Second)
		}
		for range 300 {
			if got := w.targets("old.iso", 20); got[worldMirror(1)] > 0 || got["503"] > 0 {
				t.Fatalf("clients were sent to %v", got)
			}
			time.Sleep(time.Minute)
		}
		w.do(func() { w.refuses = "" })
		w.targets("old.iso", 100)
		time.Sleep(10 * time.Minute)
		w.targets("old.iso", 100)
		synctest.Wait()
		if got := w.targets("old.iso", 100); got[worldMirror(1)] == 0 {
			t.Errorf("clients were sent to %v", got)
		}
	})
}

// TestMadeUpPaths: a client that asks for many paths which do not exist does not have mirrors asked, and is not
// answered that they do not exist where the origin was not asked.
func TestMadeUpPaths(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newFileWorld(t, config.Files{Origin: "/o"}, 8, map[string]int64{"old.iso": 100})
		got := map[int]int{}
		for i := range 1000 {
			got[get(w.handler, fmt.Sprintf("/made-up-%d.iso", i), "198.51.100.1").Code]++
		}
		if got[404] == 0 || got[503] == 0 || got[404]+got[503] != 1000 {
			t.Errorf("answers %v", got)
		}
		for i := range 8 {
			if n := w.askedOf(i); n > 0 {
				t.Errorf("mirror %d was asked %d times", i, n)
			}
		}
	})
	synctest.Test(t, func(t *testing.T) { // nor are all of many mirrors, where the origin cannot be asked
		w := newFileWorld(t, config.Files{Origin: "/o"}, 40, map[string]int64{"old.iso": 100})
		for path, code := range map[string]int{"not-listed": 404, "silent": 503} {
			before := 0
			for i := range 40 {
				before += w.askedOf(i)
			}
			if got := get(w.handler, "/"+path, "198.51.100.1").Code; got != code {
				t.Errorf("%s: %d, want %d", path, got, code)
			}
			asked := -before
			for i := range 40 {
				asked += w.askedOf(i)
			}
			if asked != maxDoubted {
				t.Errorf("%s: %d mirrors were asked, want %d", path, asked, maxDoubted)
			}
		}
	})
}

// TestFileStatusesAreBounded asks about as many files as the admin server allows, with mirrors that give no answer.
func TestFileStatusesAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		origin := map[string]int64{}
		var paths []string
		for i := range 100 {
			paths = append(paths, fmt.Sprintf("%d.iso", i))
			origin[paths[i]] = 1
		}
		w := newFileWorld(t, config.Files{Origin: "/o"}, 9, origin)
		w.do(func() { w.hangs = worldMirror(7) })
		begin := time.Now()
		list := w.handler.FileStatuses(t.Context(), append(paths[:99:99], "nothing.iso"))
		if waited := time.Since(begin); waited > fileStatusTime {
			t.Errorf("took %v", waited)
		}
		for i := range list {
			if list[i].Path != paths[i] && i < 99 || list[i].Published != (i < 99) || len(list[i].Mirrors) != 9 {
				t.Errorf("%+v", list[i])
			}
		}
		if list[0].Mirrors[6].State != files.CopyHas || list[0].Mirrors[7].State != files.CopyUnknown {
			t.Errorf("%+v", list[0])
		}
	})
}
