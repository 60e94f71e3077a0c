package source

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"mirrorpool/config"
	"mirrorpool/testdata/testbed"
)

// poolText is a list of mirrors "host weight".
func poolText(entries ...string) string {
	var list []string
	for _, e := range entries {
		host, weight, _ := strings.Cut(e, " ")
		list = append(list, fmt.Sprintf(`{"url_prefix": "https://%s.example.net/", "weight": %s}`, host, weight))
	}
	return `{"version": 1, "mirrors": [` + strings.Join(list, ",\n") + "]}\n"
}

// hosts gives what a pool was made of by poolText.
func hosts(pool *config.Pool) string {
	var list []string
	for _, m := range pool.Mirrors {
		list = append(list, fmt.Sprintf("%s %d", strings.TrimSuffix(m.URL.Hostname(), ".example.net"), m.Weight))
	}
	return strings.Join(list, ", ")
}

// A rig is a list with what it needs, and a log to look into.
type rig struct {
	*List
	log *observer.ObservedLogs
	now time.Time
}

// testSettings are the settings of a rig, unless it has its own.
func testSettings(keys ...string) Settings {
	return Settings{Refresh: time.Hour, Guard: 0.5, Keys: keys}
}

// set puts settings in force.
func (r *rig) set(t testing.TB, s Settings) {
	t.Helper()
	if err := r.SetSettings(s); err != nil {
		t.Fatal(err)
	}
}

func newRig(t testing.TB, o Options, keys ...string) *rig {
	t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	r := &rig{log: logs, now: time.Unix(1_800_000_000, 0).UTC()}
	o.Log, o.Rand = zap.New(core), rand.New(rand.NewPCG(1, 2))
	o.Now = func() time.Time { return r.now }
	if o.Settings.Refresh == 0 {
		o.Settings = testSettings(keys...)
	}
	var err error
	if r.List, err = New(o); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) start(t testing.TB) *rig {
	t.Helper()
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

// expect wants a pool in force.
func (r *rig) expect(t testing.TB, want ...string) {
	t.Helper()
	if got := hosts(r.Pool()); got != strings.Join(want, ", ") {
		t.Fatalf("in force: %s; want %v; status %+v", got, want, r.Status())
	}
}

// run runs the list until the test ends. The channel tells of each look.
func (r *rig) run(t testing.TB) <-chan Result {
	t.Helper()
	results := make(chan Result, 100)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := r.Run(ctx, results); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
	return results
}

// await waits for a look that ok likes.
func await(t testing.TB, results <-chan Result, ok func(Result) bool) Result {
	t.Helper()
	limit := time.After(10 * time.Second)
	for {
		select {
		case r := <-results:
			if ok(r) {
				return r
			}
		case <-limit:
			t.Fatal("the look that is waited for does not come")
		}
	}
}

func applied(r Result) bool { return r.Applied }

func failed(r Result) bool { return r.Err != nil }

func (r *rig) logged(message string) int { return r.log.FilterMessageSnippet(message).Len() }

// TestOnNewText counts the lists that differ from the one in force.
func TestOnNewText(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "mirrors.json")
	testbed.Put(t, path, poolText("a 1", "b 1"))
	r := newRig(t, Options{Source: path}).start(t)
	seen := 0
	r.OnNewText(func() { seen++ })
	for i, text := range []string{poolText("a 1", "b 1"), poolText("a 1", "b 2"), poolText("a 1", "b 2"), "{"} {
		testbed.Put(t, path, text)
		r.Reload(t.Context(), false)
		if want := []int{0, 1, 1, 2}[i]; seen != want {
			t.Errorf("after %q: %d lists seen, want %d", text, seen, want)
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "mirrors.json")
	testbed.Put(t, path, poolText("a 1", "b 1"))
	r := newRig(t, Options{Source: path}).start(t)
	for text, want := range map[string]string{
		"":                          "the file is empty",
		poolText("a 1", "b -1"):     ":2:",
		poolText("a 0", "b 0"):      "mirrors.json: no mirror is enabled",
		poolText("a 1")[:20]:        ":1:",
		strings.Repeat(" ", 9e6):    "want a file of at most 8388608 bytes",
		poolText("a 1", "a 1"):      "is given already",
		"\xef\xbb\xbf\xff\xfe{\x00": ":1:",
	} {
		testbed.Put(t, path, text)
		for _, confirm := range []bool{false, true} {
			result := r.Reload(t.Context(), confirm)
			var refused *RefusedError
			if !errors.As(result.Err, &refused) || !strings.Contains(result.Err.Error(), want) || result.Held != nil || result.Applied {
				t.Errorf("%.40q: %+v, want %q", text, result, want)
			}
		}
		r.expect(t, "a 1", "b 1")
	}
	errors := r.logged("cannot use the list")
	if r.Reload(t.Context(), false); r.logged("cannot use the list") != errors {
		t.Error("the same error is logged at each look")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if result := r.Reload(t.Context(), false); !strings.Contains(fmt.Sprint(result.Err), "no such file") {
		t.Errorf("without a file: %v", result.Err)
	}
	testbed.Put(t, path, poolText("a 1", "b 1"))
	if result := r.Reload(t.Context(), false); result.Err != nil || result.Applied || r.Status().Error != "" {
		t.Errorf("the old list again: %+v, status %+v", result, r.Status())
	}
}

// TestSameWords: white space is no change, and the pool in force stays the same value.
func TestSameWords(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "mirrors.json")
	testbed.Put(t, path, poolText("a 1", "b 1"))
	r := newRig(t, Options{Source: path}).start(t)
	pool := r.Pool()
	testbed.Put(t, path, "  "+poolText("a 1", "b 1"))
	if result := r.Reload(t.Context(), false); result.Applied || result.Err != nil || !result.Change.Empty() || r.Pool() != pool {
		t.Errorf("%+v", result)
	}
}

func TestGuard(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "mirrors.json")
	testbed.Put(t, path, poolText("a 1", "b 1", "c 1"))
	r := newRig(t, Options{Source: path}).start(t)
	held := func(confirm bool, want string) {
		t.Helper()
		result := r.Reload(t.Context(), confirm)
		status := r.Status()
		if result.Applied || result.Held == nil || !strings.Contains(result.Err.Error(), want) || status.Held == nil ||
			status.Error != result.Err.Error() {
			t.Fatalf("%+v; status %+v; want it held back: %s", result, status, want)
		}
		r.expect(t, "a 1", "b 1", "c 1")
	}
	testbed.Put(t, path, poolText("a 1"))
	held(false, "it removes or disables 2 of 3 enabled mirrors, 67 % of the weight, and mirrors_guard allows 50 %; if it is "+
		"meant, confirm it: mirrorpool reload --confirm")
	since := r.Status().Held.Since
	r.now = r.now.Add(time.Minute)
	held(false, "held back")
	if s := r.Status().Held; !s.Since.Equal(since) || s.Lost != 2 || len(s.Change.Removed) != 2 {
		t.Errorf("held %+v", s)
	}
	if n := r.logged("held back"); n != 1 {
		t.Errorf("%d lines in the log, want 1", n)
	}
	// The confirmation is for the update above, not for this one.
	testbed.Put(t, path, poolText("a 0", "b 0", "c 1"))
	held(true, "changed since it was held back")
	// The source thinks better of it.
	testbed.Put(t, path, poolText("a 1", "b 1", "c 2"))
	if result := r.Reload(t.Context(), false); !result.Applied || r.Status().Held != nil || r.Status().Error != "" {
		t.Fatalf("%+v", result)
	}
	testbed.Put(t, path, poolText("a 1", "b 1", "c 1"))
	r.Reload(t.Context(), false)
	testbed.Put(t, path, poolText("d 1"))
	held(false, "100 %")
	testbed.Put(t, path, poolText("a 1", "b 1", "c 1"))
	if result := r.Reload(t.Context(), true); result.Applied || result.Err != nil || r.Status().Held != nil {
		t.Fatalf("%+v", result)
	}
	testbed.Put(t, path, poolText("a 1"))
	held(false, "67 %")
	if result := r.Reload(t.Context(), true); !result.Applied || len(result.Change.Removed) != 2 || r.Status().Held != nil {
		t.Fatalf("confirmed: %+v", result)
	}
	r.expect(t, "a 1")
	r.set(t, Settings{Refresh: time.Hour}) // the guard is off
	testbed.Put(t, path, poolText("z 1"))
	if result := r.Reload(t.Context(), false); !result.Applied {
		t.Fatalf("%+v", result)
	}
	// Confirmed at once, before it was held back.
	r.set(t, testSettings())
	testbed.Put(t, path, poolText("y 1"))
	if result := r.Reload(t.Context(), true); !result.Applied {
		t.Fatalf("%+v", result)
	}
}

// TestGuardLetsGoBack: the list that was in force before may come back, but the one that it replaces may not.
func TestGuardLetsGoBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "mirrors.json")
	o := Options{Source: path, StateDir: filepath.Join(dir, "state")}
	good, bad := poolText("a 10", "b 10"), poolText("a 10", "b 10", "x 1000")
	testbed.Put(t, path, good)
	r := newRig(t, o).start(t)
	look := func(text string, confirm, applied bool) {
		t.Helper()
		testbed.Put(t, path, text)
		if result := r.Reload(t.Context(), confirm); result.Applied != applied || (result.Held == nil) != applied {
			t.Fatalf("%+v, applied %v wanted", result, applied)
		}
	}
	look(bad, false, false)
	look(bad, true, true)
	look(good, false, true)
	look(bad, false, false)
	look(bad, true, true)
	look(poolText("a 10"), false, false) // another list than the one before
	r = newRig(t, o).start(t)
	look(good, false, true) // after a restart, too
	look(bad, false, false)
}

// TestGuardKnowsWhatWorks: weight that does not work is no loss.
func TestGuardKnowsWhatWorks(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "mirrors.json")
	testbed.Put(t, path, poolText("a 1", "b 9"))
	r := newRig(t, Options{Source: path}).start(t)
	testbed.Put(t, path, poolText("a 1"))
	if result := r.Reload(t.Context(), false); result.Held == nil {
		t.Fatalf("all works: %+v", result)
	}
	r.SetWorking(func() map[string]bool { return map[string]bool{r.Pool().Mirrors[1].URLPrefix: false} })
	if result := r.Reload(t.Context(), false); !result.Applied {
		t.Fatalf("the one that leaves does not work: %+v", result)
	}
}

// TestGuardHoldsAcrossARestart: what is held back because of the mirrors' health is not let pass by a start, which
// knows nothing of it.
func TestGuardHoldsAcrossARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "mirrors.json")
	testbed.Put(t, path, poolText("a 1", "b 9"))
	o := Options{Source: path, StateDir: filepath.Join(dir, "state")}
	r := newRig(t, o).start(t)
	r.SetWorking(func() map[string]bool {
		return map[string]bool{"https://a.example.net/": true, "https://b.example.net/": false}
	})
	testbed.Put(t, path, poolText("b 9"))
	if result := r.Reload(t.Context(), false); result.Held == nil || result.Held.Share != 1 {
		t.Fatalf("the only one that works leaves: %+v", result)
	}
	r = newRig(t, o).start(t)
	r.expect(t, "a 1", "b 9")
	if held := r.Status().Held; held == nil || held.Share != 1 {
		t.Fatalf("after a restart: %+v", r.Status())
	}
	r.SetWorking(func() map[string]bool {
		return map[string]bool{"https://a.example.net/": false, "https://b.example.net/": true}
	})
	if result := r.Reload(t.Context(), false); !result.Applied {
		t.Fatalf("once health is known: %+v", result)
	}
	r = newRig(t, o).start(t)
	r.expect(t, "b 9")
	testbed.Put(t, path, poolText("a 1", "b 9"))
	if result := r.Reload(t.Context(), false); !result.Applied {
		t.Fatalf("%+v", result)
	}
	testbed.Put(t, path, poolText("b 9")) // which was held back once
	if result := r.Reload(t.Context(), false); !result.Applied {
		t.Fatalf("%+v", result)
	}
}

// TestGuardAtStart: at the start, the guard knows which mirrors worked when the program ended.
func TestGuardAtStart(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		working map[string]bool
		held    bool
	}{
		"nothing is known":           {nil, false},
		"the one that leaves worked": {map[string]bool{"https://a.example.net/": true, "https://b.example.net/": false}, true},
		"both worked":                {map[string]bool{"https://a.example.net/": true, "https://b.example.net/": true}, false},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "mirrors.json")
		testbed.Put(t, path, poolText("a 1", "b 9"))
		o := Options{Source: path, StateDir: filepath.Join(dir, "state")}
		newRig(t, o).start(t)
		testbed.Put(t, path, poolText("b 9"))
		o.Working = func() map[string]bool { return test.working }
		if r := newRig(t, o).start(t); (r.Status().Held != nil) != test.held {
			t.Errorf("%s: %+v", name, r.Status())
		}
	}
}

func TestNextLook(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for _, tt := range []struct {
		refresh     time.Duration
		failures    int
		least, most time.Duration
	}{
		{5 * time.Minute, 0, 270 * time.Second, 330 * time.Second},
		{5 * time.Minute, 1, 500 * time.Millisecond, time.Second},
		{5 * time.Minute, 2, time.Second, 2 * time.Second},
		{5 * time.Minute, 5, 8 * time.Second, 16 * time.Second},
		{5 * time.Minute, 10, 150 * time.Second, 300 * time.Second},
		{5 * time.Minute, 1000, 150 * time.Second, 300 * time.Second},
		{50 * time.Millisecond, 3, 25 * time.Millisecond, 50 * time.Millisecond},
	} {
		seen := map[time.Duration]bool{}
		for range 200 {
			d := nextLook(tt.refresh, tt.failures, r)
			if seen[d] = true; d < tt.least || d > tt.most {
				t.Errorf("%v after %d failures: %v", tt.refresh, tt.failures, d)
			}
		}
		if len(seen) < 100 {
			t.Errorf("%v after %d failures: not spread", tt.refresh, tt.failures)
		}
	}
}

// TestLatest: a reload on request returns what the list has put in force by itself before, and only the first one does.
func TestLatest(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "mirrors.json")
	testbed.Put(t, path, poolText("a 1", "b 1"))
	r := newRig(t, Options{Source: path}).start(t)
	results := r.run(t)
	await(t, results, func(Result) bool { return true }) // the watch has begun
	testbed.Put(t, path, poolText("a 1", "b 1", "c 1"))
	if result := await(t, results, applied); result.Latest != nil || len(result.Change.Added) != 1 {
		t.Errorf("%+v", result)
	}
	for _, r := range []Result{r.Preview(t.Context(), false), r.Reload(t.Context(), false)} {
		if r.Applied || r.Latest == nil || len(r.Latest.Change.Added) != 1 || r.Latest.At.IsZero() {
			t.Errorf("%+v", r)
		}
	}
	if result := r.Reload(t.Context(), false); result.Latest != nil {
		t.Errorf("told twice: %+v", result.Latest)
	}
}

// TestSettingsFitPool: settings whose zone needs the name of a mirror in force are refused.
func TestSettingsFitPool(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "mirrors.json")
	testbed.Put(t, path, `{"version": 1, "mirrors": [{"url_prefix": "https://a.example.net/", "weight": 1, "name": "m7"}]}`)
	r := newRig(t, Options{Source: path}).start(t)
	s := testSettings()
	s.DNS = config.DNS{Zone: "dl.example.org.", Names: []string{"m7"}}
	if err := r.SetSettings(s); err == nil || !strings.Contains(err.Error(),
		`the mirror https://a.example.net/ in force: "m7" is the name of the pool`) {
		t.Errorf("error %v", err)
	}
	s.DNS.Names = []string{"@"}
	r.set(t, s)
	testbed.Put(t, path, `{"version": 1, "mirrors": [{"url_prefix": "https://a.example.net/", "weight": 1, "name": "_status"}]}`)
	if result := r.Reload(t.Context(), false); result.Err == nil {
		t.Error("a list that does not fit the new settings is in force")
	}
}
