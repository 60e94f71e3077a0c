package watch

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"mirrorpool/testdata/testbed"
)

// noteOf is what a peer has heard of another on a topic.
func (p *peer) noteOf(topic Topic, watcher string) string {
	for _, n := range p.Notes(topic) {
		if n.Watcher == watcher {
			return fmt.Sprintf("%s %v", n.Text, n.Alive)
		}
	}
	return ""
}

// TestNotes has watchers tell each other of other things than endpoints: short ones, ones too long for a packet, to
// members that come later, and after a restart under a clock that is behind.
func TestNotes(t *testing.T) {
	t.Parallel()
	port := testbed.FreePort(t, "127.0.24.11", "127.0.24.12", "127.0.24.13")
	var addresses []string
	for i := range 3 {
		addresses = append(addresses, fmt.Sprintf("127.0.24.1%d:%s", i+1, port))
	}
	fra, ams := startPeer(t, "fra", addresses[0], addresses, key("one")), startPeer(t, "ams", addresses[1], addresses, key("one"))
	set := func(p *peer, topic Topic, value any) {
		t.Helper()
		if err := p.SetNote(topic, value); err != nil {
			t.Fatal(err)
		}
	}
	hears := func(p *peer, topic Topic, watcher, want string) {
		t.Helper()
		testbed.Eventually(t, want[:min(len(want), 50)], func() bool { return p.noteOf(topic, watcher) == want })
	}
	set(fra, TopicDrains, []string{"a"})
	hears(ams, TopicDrains, "fra", `["a"] true`)
	long := strings.Repeat("x", maxNoteBytes-2)
	set(fra, TopicList, long)
	hears(ams, TopicList, "fra", fmt.Sprintf("%q true", long))
	if err := fra.SetNote(TopicList, long+"x"); err == nil || !strings.Contains(err.Error(), "share list with other watchers: 65537 bytes") {
		t.Errorf("too long a note: %v", err)
	}
	set(ams, TopicDrains, nil)
	hears(fra, TopicDrains, "ams", `null true`)
	nyc := startPeer(t, "nyc", addresses[2], addresses, key("one"))
	hears(nyc, TopicDrains, "fra", `["a"] true`)

	fra.stop()
	hears(ams, TopicDrains, "fra", `["a"] false`)
	again, err := New(fra.o)
	if err != nil {
		t.Fatal(err)
	}
	again.own.count = 0 // as if the clock had gone back by years
	fra = &peer{Group: again, t: t, states: map[string]string{}}
	set(fra, TopicDrains, []string{"b"})
	ctx, done := t.Context(), make(chan error, 1)
	go func() { done <- fra.Run(ctx, func() bool { return true }) }()
	for _, p := range []*peer{ams, nyc} {
		testbed.Eventually(t, "the watcher is heard again", func() bool {
			fra.judge() // as a server does after each change
			return p.noteOf(TopicDrains, "fra") == `["b"] true`
		})
	}
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestNotesOfGone end an hour after their watcher was lost.
func TestNotesOfGone(t *testing.T) {
	t.Parallel()
	now := time.Unix(1e9, 0)
	g := &Group{o: Options{Now: func() time.Time { return now }}, members: map[string]*member{
		"fra": {since: now, book: Book{notes: map[Topic]Note{TopicDrains: {1, []byte("1")}}}},
	}}
	now = now.Add(memoryOfGone)
	if len(g.Notes(TopicDrains)) != 1 || len(g.Notes(TopicList)) != 0 {
		t.Error("the note of a watcher that is gone for an hour is lost")
	}
	now = now.Add(1)
	if len(g.Notes(TopicDrains)) != 0 {
		t.Error("the note of a watcher that is gone for more than an hour counts")
	}
}

// TestNotesAreBounded refuses what no watcher says, and leaves out what only a later version knows.
func TestNotesAreBounded(t *testing.T) {
	t.Parallel()
	view := func(topic, text string, count int) string {
		return fmt.Sprintf(`{"w":"fra","n":5,"t":{%q:{"n":%d,"t":%s}}}`, topic, count, text)
	}
	for _, text := range []string{
		view("drains", `"`+strings.Repeat("x", maxNoteBytes-1)+`"`, 5),
		view("drains", "1", 6),
	} {
		if v, err := parseView([]byte(text)); err == nil {
			t.Errorf("%.80s: %v", text, v)
		}
	}
	var b Book
	for _, text := range []string{view("drains", "1", 5), view("weather", "2", 5), view("drains", "3", 4)} {
		v, err := parseView([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		b.Merge(v, all)
	}
	if len(b.notes) != 1 || string(b.notes[TopicDrains].Text) != "1" {
		t.Errorf("%v", b.notes)
	}
}

// TestReleases says of a mirror once that another watcher has learned of other files at it.
func TestReleases(t *testing.T) {
	t.Parallel()
	g := &Group{
		o: Options{Now: time.Now, Log: zap.NewNop()}, members: map[string]*member{"fra": {alive: true}}, wanted: map[string]bool{"a": true, "b": true},
		releases: map[string]bool{}, own: Book{mirrors: map[string]Opinions{"a": {Release: 7}}}, changed: make(chan struct{}, 1),
	}
	for i, step := range []struct {
		mirrors string
		want    string
	}{
		{`"a":{"n":1,"f":7}`, "[]"},
		{`"a":{"n":2}`, "[]"},
		{`"a":{"n":3,"f":8},"b":{"n":3,"f":1},"x":{"n":3,"f":1}`, "[a b]"},
		{`"a":{"n":4,"f":8}`, "[]"},
		{`"a":{"n":3,"f":9}`, "[]"},
		{`"a":{"n":5,"f":9}`, "[a]"},
	} {
		g.take(fmt.Appendf(nil, `{"w":"fra","n":%d,"m":{%s}}`, i+1, step.mirrors))
		if got := fmt.Sprint(g.Releases()); got != step.want {
			t.Errorf("step %d: %s, want %s", i, got, step.want)
		}
	}
}

// TestNoteNews: only what changes a note is news, on each topic.
func TestNoteNews(t *testing.T) {
	t.Parallel()
	for _, topic := range []Topic{TopicDrains, TopicList, TopicChallenges, TopicCorrupt} {
		var own, heard Book
		own.begin(time.Unix(1e9, 0))
		first := own.setNote("fra", topic, []byte("1"))
		if first == nil || own.setNote("fra", topic, []byte("1")) != nil {
			t.Fatalf("%s: not said, or said twice", topic)
		}
		second := own.setNote("fra", topic, []byte("2"))
		for i, step := range []struct {
			view *View
			want bool
		}{{first, true}, {first, false}, {second, true}, {first, false}} {
			if got := heard.Merge(step.view, all); got != step.want {
				t.Errorf("%s, step %d: changed %v, want %v", topic, i, got, step.want)
			}
		}
		same := map[Topic]Note{topic: {heard.notes[topic].Count, []byte("3")}}
		if heard.mergeNotes(same); string(heard.notes[topic].Text) != "2" {
			t.Errorf("%s: another text under the same count has replaced the first", topic)
		}
		if again := map[Topic]Note{topic: {heard.notes[topic].Count + 1, []byte("2")}}; heard.mergeNotes(again) {
			t.Errorf("%s: the same text under a higher count is a change", topic)
		}
	}
}

// TestSetNoteTellsAtOnce: a change is gossiped, and not only exchanged every few seconds.
func TestSetNoteTellsAtOnce(t *testing.T) {
	t.Parallel()
	p := newGroupOf(t, time.Now)
	for i, want := range []int{1, 0, 1} {
		if err := p.SetNote(TopicDrains, i/2); err != nil {
			t.Fatal(err)
		}
		if n := p.queue.NumQueued(); n != want {
			t.Errorf("step %d: %d packets wait to be gossiped, want %d", i, n, want)
		}
		p.queue.Prune(0)
	}
}
