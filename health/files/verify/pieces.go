package verify

import (
	"github.com/cespare/xxhash/v2"
)

// pieceSize is how many bytes a piece has.
const pieceSize = 1 << 20

// pieces are checksums (xxhash) of the pieces of a file. They say where a copy is wrong, and prove nothing.
type pieces []uint64

// A pieceWriter makes pieces of what is written to it.
type pieceWriter struct {
	done    pieces
	current *xxhash.Digest
	filled  int
}

func newPieceWriter() *pieceWriter { return &pieceWriter{current: xxhash.New()} }

// Write takes in bytes. It never fails.
func (w *pieceWriter) Write(text []byte) (int, error) {
	written := len(text)
	for len(text) > 0 {
		n := min(len(text), pieceSize-w.filled)
		w.current.Write(text[:n])
		text, w.filled = text[n:], w.filled+n
		if w.filled == pieceSize {
			w.end()
		}
	}
	return written, nil
}

func (w *pieceWriter) end() {
	w.done = append(w.done, w.current.Sum64())
	w.current.Reset()
	w.filled = 0
}

// all returns the pieces, the last one of which may be shorter.
func (w *pieceWriter) all() pieces {
	if w.filled > 0 {
		w.end()
	}
	return w.done
}

// firstOther returns the first piece that differs from another file's. ok is false if none does.
func (p pieces) firstOther(other pieces) (index int, ok bool) {
	for i := range p {
		if i >= len(other) || p[i] != other[i] {
			return i, true
		}
	}
	return 0, false
}
