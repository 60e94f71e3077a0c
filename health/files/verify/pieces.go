package verify

import (
	"crypto/sha256"
	"hash"
)

// pieceSize is how many bytes a piece has.
const pieceSize = 1 << 20

// A pieceSum is half of the SHA-256 of a piece of a file. A mirror must not be able to make a wrong piece with the
// sum of the right one: then no place of its copy could be proven to be wrong.
type pieceSum [sha256.Size / 2]byte

func sumOf(piece []byte) pieceSum {
	digest := sha256.Sum256(piece)
	return pieceSum(digest[:sha256.Size/2])
}

// pieces are the sums of the pieces of a file. They say where a copy is wrong, and prove nothing.
type pieces []pieceSum

// A pieceWriter makes pieces of what is written to it.
type pieceWriter struct {
	done    pieces
	current hash.Hash
	filled  int
}

func newPieceWriter() *pieceWriter { return &pieceWriter{current: sha256.New()} }

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
	var digest [sha256.Size]byte
	w.done = append(w.done, pieceSum(w.current.Sum(digest[:0])[:sha256.Size/2]))
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

// firstOther returns the first piece that differs from another file's, or that one of them lacks. ok is false if none
// does.
func (p pieces) firstOther(other pieces) (index int, ok bool) {
	for i := range max(len(p), len(other)) {
		if i >= len(p) || i >= len(other) || p[i] != other[i] {
			return i, true
		}
	}
	return 0, false
}
