package health

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// reportOf is a report on one mirror, with an address in each of the states.
func reportOf(at time.Time, http, dns []State, rsync *Endpoint) *Report {
	m := MirrorReport{Rsync: rsync}
	for role, states := range [][]State{HTTP: http, DNS: dns} {
		for i, s := range states {
			m.Endpoints = append(m.Endpoints, Endpoint{
				Address: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), Role: Role(role), Verdict: Verdict{State: s},
			})
		}
	}
	return &Report{At: at, Mirrors: map[string]MirrorReport{"http://m1.example.org/": m}}
}

func TestHistory(t *testing.T) {
	t.Parallel()
	const prefix = "http://m1.example.org/"
	start := time.Unix(1_800_000_000, 0).Truncate(HistoryPart)
	h := NewHistory()
	for _, step := range []struct {
		after     time.Duration
		http, dns []State
	}{
		{0, []State{Up, Up}, []State{Up, Down}},
		{time.Minute, []State{Up, Down}, []State{Stale, Down}},
		{2 * time.Minute, []State{Up, Up}, []State{Up, Up}}, // the worst of the part stays
		{HistoryPart, []State{Up, Unknown}, []State{Down, Up}},
		{3 * HistoryPart, []State{Stale}, nil},
	} {
		h.Note(reportOf(start.Add(step.after), step.http, step.dns, nil))
	}
	got := h.Strips(prefix, start.Add(4*HistoryPart))
	for role, want := range []string{HTTP: "du-s-", DNS: "su---"} {
		if text := got[role].String(); text != strings.Repeat("-", HistoryParts-5)+want {
			t.Errorf("%v: %s, want %s at the end", Role(role), text, want)
		}
	}
	if at := h.Strips(prefix, start.Add(3*HistoryPart+24*time.Hour)); at != [2]Strip{} {
		t.Errorf("a day later %v is left", at)
	}
	if at := h.Strips(prefix, start.Add(3*HistoryPart+24*time.Hour-HistoryPart)); at[HTTP][0] != Stale || at[HTTP][1] != Unknown {
		t.Errorf("a day later but for one part %v is left", at)
	}
	if other := h.Strips("http://m2.example.org/", start); other != [2]Strip{} {
		t.Errorf("a mirror of which nothing is known: %v", other)
	}
	if early := h.Strips(prefix, start.Add(-time.Hour)); early[HTTP][HistoryParts-1] != Stale {
		t.Error("a clock that was set back changes what was seen")
	}
	h.Note(reportOf(start.Add(5*HistoryPart), []State{Up}, []State{Up}, &Endpoint{Verdict: Verdict{State: Down}}))
	if got := h.Strips(prefix, start.Add(5*HistoryPart)); got[HTTP][HistoryParts-1] != Down || got[DNS][HistoryParts-1] != Up {
		t.Error("a daemon that is down does not count for redirects alone")
	}
	h.Note(&Report{At: start})
	if len(h.mirrors) != 0 {
		t.Error("a mirror that is gone is not forgotten")
	}
}

// TestHistoryTimes: an outage of a minute is a minute, although the part of the strip in which it was counts as down.
func TestHistoryTimes(t *testing.T) {
	t.Parallel()
	const prefix = "http://m1.example.org/"
	start := time.Unix(1_800_000_000, 0).Truncate(HistoryPart)
	h := NewHistory()
	now := start
	note := func(after time.Duration, http State) {
		now = start.Add(after)
		r := reportOf(now, []State{http}, []State{Up}, nil)
		r.Policy.Interval = 30 * time.Minute
		h.Note(r)
	}
	check := func(what string, want StateTimes) {
		t.Helper()
		if got := h.Times(prefix, now)[HTTP]; got != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	note(0, Up)
	check("at once", StateTimes{})
	note(14*time.Minute+30*time.Second, Down) // across the border of two parts
	note(15*time.Minute+30*time.Second, Up)
	note(time.Hour, Stale)
	now = now.Add(20 * time.Second)
	check("an hour later", StateTimes{Up: 59 * time.Minute, Down: time.Minute, Stale: 20 * time.Second})
	strips := h.Strips(prefix, now)
	if got := strips[HTTP].String(); !strings.HasSuffix(got, "-dduus") {
		t.Errorf("the strip ends in %s", got[HistoryParts-6:])
	}
	var file bytes.Buffer
	if err := h.Save(&file); err != nil {
		t.Fatal(err)
	}
	if err := h.Restore(bytes.NewReader(file.Bytes()), now); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Minute)
	check("after a restart", StateTimes{Up: 59 * time.Minute, Down: time.Minute}) // and not the time without checks
	note(time.Hour+5*time.Minute, Up)
	note(30*time.Minute, Up) // the clock is set back, and goes on from there
	note(40*time.Minute, Up)
	check("with a clock set back", StateTimes{Up: 59 * time.Minute, Down: time.Minute})
	note(25*time.Hour, Up)
	check("a day later, without a report", StateTimes{Up: 25 * time.Minute}) // from 1:15 until 1:40
}

// TestHistoryWithoutTimes reads the file of a version that kept no times.
func TestHistoryWithoutTimes(t *testing.T) {
	t.Parallel()
	const prefix = "http://m1.example.org/"
	now := time.Unix(1_800_000_000, 0)
	old := map[string]any{prefix: map[string]any{
		"last": now.Unix() / 900, "http": strings.Repeat("u", HistoryParts-1) + "d", "dns": strings.Repeat("-", HistoryParts),
	}}
	var file bytes.Buffer
	if err := writeSealed(&file, historyFormat, old); err != nil {
		t.Fatal(err)
	}
	h := NewHistory()
	if err := h.Restore(&file, now); err != nil {
		t.Fatal(err)
	}
	want := StateTimes{Up: 24*time.Hour - HistoryPart, Down: HistoryPart}
	if got := h.Times(prefix, now)[HTTP]; got != want {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestHistoryFile(t *testing.T) {
	t.Parallel()
	const prefix = "http://m1.example.org/"
	now := time.Unix(1_800_000_000, 0)
	h := NewHistory()
	h.Note(reportOf(now, []State{Down}, []State{Up}, nil))
	path := filepath.Join(t.TempDir(), "history")
	h.SaveHistory(path, zap.NewNop())
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	again := NewHistory()
	again.LoadHistory(path, now.Add(HistoryPart), zap.NewNop())
	if got := again.Strips(prefix, now); got != h.Strips(prefix, now) || got[HTTP][HistoryParts-1] != Down {
		t.Errorf("restored %v", got)
	}
	if err := again.Restore(bytes.NewReader(good), now); err != nil || again.Strips(prefix, now) != h.Strips(prefix, now) {
		t.Errorf("at once: %v, %v", err, again.Strips(prefix, now))
	}
	if err := again.Restore(bytes.NewReader(good), now.Add(-time.Hour)); err != nil || len(again.mirrors) != 0 {
		t.Errorf("from the future: %v, %d mirrors", err, len(again.mirrors))
	}
	sealed := func(body string) []byte {
		var out bytes.Buffer
		if err := writeSealed(&out, historyFormat, json.RawMessage(body)); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	for name, bad := range map[string][]byte{
		"empty": {}, "cut": good[:len(good)-2], "edited": bytes.Replace(good, []byte("d"), []byte("u"), 1),
		"another version": bytes.Replace(good, []byte(" 1 "), []byte(" 2 "), 1),
		"too short":       sealed(`{"http://m1.example.org/": {"last": 1, "http": "u", "dns": ""}}`),
		"no such state": sealed(`{"http://m1.example.org/": {"last": 1, "http": "` + strings.Repeat("x", HistoryParts) +
			`", "dns": "` + strings.Repeat("u", HistoryParts) + `"}}`),
		"too long a time": sealed(`{"http://m1.example.org/": {"last": 1, "http": "` + strings.Repeat("u", HistoryParts) +
			`", "dns": "` + strings.Repeat("u", HistoryParts) + `", "http_seconds": {"u": [901` +
			strings.Repeat(",0", HistoryParts-1) + `]}}}`),
		"too few times": sealed(`{"http://m1.example.org/": {"last": 1, "http": "` + strings.Repeat("u", HistoryParts) +
			`", "dns": "` + strings.Repeat("u", HistoryParts) + `", "http_seconds": {"u": [900]}}}`),
		"no object": sealed(`[]`),
	} {
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		os.Remove(path + ".bad")
		kept := NewHistory()
		kept.Note(reportOf(now, []State{Up}, nil, nil))
		core, logs := observer.New(zap.WarnLevel)
		kept.LoadHistory(path, now, zap.New(core))
		if logs.FilterMessage("cannot restore the saved history").Len() != 1 {
			t.Errorf("%s: logged %v", name, logs.All())
		}
		if _, err := os.Stat(path + ".bad"); err != nil {
			t.Errorf("%s: it is not set aside: %v", name, err)
		}
		if got := kept.Strips(prefix, now); got[HTTP][HistoryParts-1] != Up {
			t.Errorf("%s: it changed the history", name)
		}
	}
}

// TestHistoryThatCannotBeSaved: a failure is logged once for each error, and again after a success.
func TestHistoryThatCannotBeSaved(t *testing.T) {
	t.Parallel()
	h := NewHistory()
	core, logs := observer.New(zap.DebugLevel)
	dir := t.TempDir()
	for _, step := range []struct {
		path     string
		warnings int // in all
	}{
		{filepath.Join(dir, "missing", "history"), 1},
		{filepath.Join(dir, "missing", "history"), 1},
		{"/dev/full/history", 2},
		{filepath.Join(dir, "history"), 2},
		{"/dev/full/history", 3},
	} {
		h.SaveHistory(step.path, zap.New(core))
		if n := logs.FilterMessage("cannot save the history").Len(); n != step.warnings || logs.Len() != n {
			t.Errorf("%s: warned %d times in %d messages, want %d", step.path, n, logs.Len(), step.warnings)
		}
	}
}

// TestStripText: a letter tells each state, and is read as that again.
func TestStripText(t *testing.T) {
	t.Parallel()
	var strip, again Strip
	for i := range strip {
		strip[i] = []State{Unknown, Up, Stale, Down}[i%4]
	}
	text := strip.String()
	if text != strings.Repeat("-usd", HistoryParts/4) {
		t.Errorf("%s", text)
	}
	if err := again.read(text); err != nil || again != strip {
		t.Errorf("read %v, %v", again, err)
	}
}

// TestSavedSecondsAreFew: states that never were take no room in the file.
func TestSavedSecondsAreFew(t *testing.T) {
	var s stripSeconds
	s.of(Up)[3] = 7
	if saved := s.save(); len(saved) != 1 || saved["u"][3] != 7 {
		t.Errorf("%v", saved)
	}
}

// TestLoadHistoryInSilence: a history that can be restored is nothing to warn of.
func TestLoadHistoryInSilence(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	path := filepath.Join(t.TempDir(), "history")
	NewHistory().SaveHistory(path, zap.New(core))
	NewHistory().LoadHistory(path, epoch, zap.New(core))
	if logs.Len() > 0 {
		t.Errorf("logged %v", logs.All())
	}
}

// TestHistoryIsSmall: a mirror keeps seconds of the states in which it was within the day, and of no other.
func TestHistoryIsSmall(t *testing.T) {
	t.Parallel()
	h := NewHistory()
	note := func(at time.Time, state State) {
		h.Note(&Report{At: at, Policy: Policy{Interval: time.Minute}, Mirrors: map[string]MirrorReport{
			"http://m1.example.org/": {Endpoints: []Endpoint{{Verdict: Verdict{State: state}}}},
		}})
	}
	kept := func() (letters string) {
		for state, parts := range h.mirrors["http://m1.example.org/"].seconds[HTTP] {
			if parts != nil {
				letters += stateLetters[state : state+1]
			}
		}
		return letters
	}
	note(epoch, Down)
	note(epoch.Add(time.Minute), Up)
	for i := range 2 * HistoryParts {
		now := epoch.Add(time.Duration(i+1) * HistoryPart)
		note(now, Up)
		want := "ud"
		if i >= HistoryParts-1 {
			want = "u"
		}
		if got := kept(); got != want {
			t.Fatalf("after %v: seconds of %q, want %q", now.Sub(epoch), got, want)
		}
		h.Times("http://m1.example.org/", now.Add(48*time.Hour)) // a look ahead changes nothing
	}
}

// TestHistoryIsSeenWithoutAllocating: a status shows the history of each mirror, also in states that have no seconds
// yet.
func TestHistoryIsSeenWithoutAllocating(t *testing.T) {
	h := NewHistory()
	h.Note(&Report{At: epoch, Policy: Policy{Interval: time.Minute}, Mirrors: map[string]MirrorReport{
		"http://m1.example.org/": {Endpoints: []Endpoint{{Verdict: Verdict{State: Up}}}},
	}})
	later := epoch.Add(time.Minute)
	if n := testing.AllocsPerRun(100, func() { h.Times("http://m1.example.org/", later) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestShift: what has not been seen for longer than a history lasts is forgotten.
func TestShift(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64][3]int{0: {1, 2, 3}, 1: {2, 3, 0}, 2: {3, 0, 0}, 3: {}, 4: {}, 1 << 40: {}} {
		parts := [3]int{1, 2, 3}
		if shift(parts[:], n); parts != want {
			t.Errorf("by %d: %v, want %v", n, parts, want)
		}
	}
}

// TestDamagedSeconds refuses times in states that are none, or that no day has.
func TestDamagedSeconds(t *testing.T) {
	t.Parallel()
	parts := func(n int, seconds int16) []int16 { return slices.Repeat([]int16{seconds}, n) }
	good := stateLetters[:1]
	for name, test := range map[string]struct {
		saved savedSeconds
		bad   bool
	}{
		"good":          {savedSeconds{good: parts(HistoryParts, int16(partSeconds))}, false},
		"no state":      {savedSeconds{"": parts(HistoryParts, 1)}, true},
		"two states":    {savedSeconds{stateLetters[:2]: parts(HistoryParts, 1)}, true},
		"another state": {savedSeconds{"?": parts(HistoryParts, 1)}, true},
		"too few parts": {savedSeconds{good: parts(HistoryParts-1, 1)}, true},
		"too many":      {savedSeconds{good: parts(HistoryParts+1, 1)}, true},
		"negative":      {savedSeconds{good: parts(HistoryParts, -1)}, true},
		"too long":      {savedSeconds{good: parts(HistoryParts, int16(partSeconds)+1)}, true},
	} {
		if err := new(stripSeconds).read(test.saved, new(Strip)); (err != nil) != test.bad {
			t.Errorf("%s: %v", name, err)
		}
	}
}
