package watch

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The topics of notes. Notes on others, of a later version of the program, are left out.
const (
	TopicDrains     Topic = "drains"     // mirrors that a person keeps out
	TopicList       Topic = "list"       // the list of mirrors in force, and the update that is held back
	TopicChallenges Topic = "challenges" // TXT records by which a certificate authority sees whose a name is
	TopicCorrupt    Topic = "corrupt"    // files of mirrors with wrong bytes
)

// A Topic is what a note is about.
type Topic string

func (t Topic) known() bool {
	return t == TopicDrains || t == TopicList || t == TopicChallenges || t == TopicCorrupt
}

const maxNoteBytes = 64 << 10 // of one note

// A Note is what a watcher says on a topic other than the endpoints. This package carries notes and does not read them.
type Note struct {
	Count uint64          `json:"n"` // at which it became what it is
	Text  json.RawMessage `json:"t"`
}

// A NoteOf is the note of another watcher.
type NoteOf struct {
	Watcher string
	Text    json.RawMessage
	Alive   bool      // the watcher is; notes of one that is gone stay for an hour
	Since   time.Time // when it joined, or was lost
	Only    bool      // it serves no clients
}

// SetNote makes value this watcher's note on a topic, and tells the others if it is another one than before.
func (g *Group) SetNote(topic Topic, value any) error {
	text, err := json.Marshal(value)
	if err == nil && len(text) > maxNoteBytes {
		err = fmt.Errorf("%d bytes, more than %d", len(text), maxNoteBytes)
	}
	if err != nil {
		return fmt.Errorf("share %s with other watchers: %w", topic, err)
	}
	g.mu.Lock()
	news := g.own.setNote(g.o.Config.Name, topic, text)
	g.mu.Unlock()
	if news != nil {
		g.broadcast(news)
	}
	return nil
}

// Notes are what the other watchers say on a topic, by their names.
func (g *Group) Notes(topic Topic) []NoteOf {
	g.mu.Lock()
	defer g.mu.Unlock()
	var list []NoteOf
	for name, m := range g.members {
		if n, ok := m.book.notes[topic]; ok && !g.goneForLong(m) {
			list = append(list, NoteOf{Watcher: name, Text: n.Text, Alive: m.alive, Since: m.since, Only: m.meta.Only})
		}
	}
	slices.SortFunc(list, func(a, b NoteOf) int { return strings.Compare(a.Watcher, b.Watcher) })
	return list
}

// setNote makes the book hold a note of the watcher itself. It returns what is new, or nil.
func (b *Book) setNote(watcher string, topic Topic, text json.RawMessage) *View {
	if bytes.Equal(b.notes[topic].Text, text) {
		return nil
	}
	v := b.header(watcher)
	v.Notes = map[Topic]Note{topic: {b.count, text}}
	b.mergeNotes(v.Notes)
	return v
}

// mergeNotes takes in notes of the watcher, and reports whether any has changed.
func (b *Book) mergeNotes(notes map[Topic]Note) (changed bool) {
	for topic, n := range notes {
		if !topic.known() || n.Count <= b.notes[topic].Count {
			continue
		}
		if b.notes == nil {
			b.notes = map[Topic]Note{}
		}
		changed = changed || !bytes.Equal(b.notes[topic].Text, n.Text)
		b.notes[topic] = n
	}
	return changed
}

// restampNotes gives all notes the book's count, so that they replace those of an earlier run.
func (b *Book) restampNotes() {
	for topic, n := range b.notes {
		b.notes[topic] = Note{b.count, n.Text}
	}
}

// checkNotes says what is wrong with the notes of a view.
func (v *View) checkNotes() error {
	for topic, n := range v.Notes {
		if len(n.Text) > maxNoteBytes || n.Count > v.Count {
			return fmt.Errorf("note on %.63q of %d bytes, of count %d in a view of %d", topic, len(n.Text), n.Count, v.Count)
		}
	}
	return nil
}
