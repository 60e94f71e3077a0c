package verify

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
)

// TestTakeWrong has a wrong copy be a proof only if it is known what the file should be, and the place is wrong again,
// or the copy before had the same checksum.
func TestTakeWrong(t *testing.T) {
	t.Parallel()
	text := randomText(1, pieceSize+1000)
	good := pieces{sumOf(text[:pieceSize]), sumOf(text[pieceSize:])}
	wrong := bytes.Clone(text[pieceSize:])
	wrong[5] ^= 1
	bad := pieces{good[0], sumOf(wrong)}
	for name, test := range map[string]struct {
		known, copied pieces
		again         []byte // the place as it is read the second time; nil: it is not read
		older, ends   bool   // the copy is an older version; the program ends during the second read
		before        string // the checksum of the wrong copy before
		stays         bool   // the copy stays one that was good
		noted         string // the checksum that is kept of it
		broken        uint64
		corrupt       int64 // the offset of the proof; 0: none
		pause         time.Duration
	}{
		"an older version":      {known: good, copied: bad, older: true, stays: true, broken: 1, pause: retryTime},
		"nothing is known":      {copied: bad, broken: 1, pause: retryTime},
		"no piece is wrong":     {known: good, copied: good, stays: true, broken: 1, pause: retryTime},
		"wrong again":           {known: good, copied: bad, again: wrong, corrupt: pieceSize + 5, pause: corruptTime},
		"right the second time": {known: good, copied: bad, again: text[pieceSize:], noted: "sum", broken: 1, pause: retryTime},
		"after another one": {
			known: good, copied: bad, again: text[pieceSize:], before: "other", noted: "sum", broken: 1, pause: retryTime,
		},
		"after the same one": {
			known: good, copied: bad, again: text[pieceSize:], before: "sum", noted: "sum", corrupt: pieceSize, pause: corruptTime,
		},
		"at the end": {known: good, copied: bad, again: wrong, ends: true, stays: true},
	} {
		b := newBench(t)
		f := b.fileOf(text, true)
		ctx, cancel := context.WithCancel(t.Context())
		b.v.Origin = func(_ context.Context, _ string, offset, length int64) ([]byte, error) {
			return text[offset : offset+length], nil
		}
		read := false
		b.v.Fetch = func(_ context.Context, _ *Mirror, addr netip.Addr, _ string, offset, length int64) (*Copy, error) {
			if read = true; addr != seenMirror.Addresses[0] || offset != pieceSize || length != 1000 {
				t.Errorf("%s: %d bytes from %d are read again", name, length, offset)
			}
			if test.ends {
				cancel()
			}
			return &Copy{Body: &body{Reader: bytes.NewReader(test.again)}, Size: -1}, ctx.Err()
		}
		if test.known != nil {
			b.v.keepPieces(f, test.known)
		}
		if test.older {
			b.v.noteOlder(xxhash.Sum64String(f.Path), "sum")
		}
		if test.before != "" {
			b.m.wrong[0] = test.before
		}
		b.m.done.Add(0)
		r := b.read(f, "sum")
		r.pieces, r.size = test.copied, int64(len(text))
		b.v.takeWrong(ctx, b.m, seenMirror, f, r)
		cancel()
		later, pause := b.m.later[0], time.Duration(0)
		if !later.IsZero() {
			pause = later.Sub(b.now)
		}
		if read != (test.again != nil) || b.m.done.Contains(0) != test.stays || b.m.wrong[0] != test.noted || pause != test.pause ||
			b.v.counts.Broken != test.broken || b.m.suspects.Contains(0) != (test.known == nil) {
			t.Errorf("%s: read again: %t, and after %v; %+v, %+v", name, read, pause, b.v.counts, b.m)
		}
		if found := b.m.corrupt[0]; (found != nil) != (test.corrupt > 0) || found != nil && found.Offset != test.corrupt {
			t.Errorf("%s: corrupt: %+v", name, found)
		}
	}
}

// TestMayBeCut tells a copy that differs where it or the file ends from one that differs before.
func TestMayBeCut(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		text                string // of the file
		sized               bool
		piece, copied, good int
		want                bool
	}{
		{"text", false, 0, 3, 3, false}, {"text", false, 1, 3, 3, false}, {"text", false, 2, 3, 3, true}, {"text", false, 3, 3, 4, true},
		{"text", false, 1, 2, 3, true}, {"text", false, 1, 3, 2, true}, {"text", true, 2, 3, 3, false}, {"", true, 0, 1, 0, false},
	} {
		b := newBench(t)
		f := b.fileOf([]byte(test.text), test.sized)
		if got := mayBeCut(f, test.piece, make(pieces, test.copied), make(pieces, test.good)); got != test.want {
			t.Errorf("%+v: got %t", test, got)
		}
	}
}

// TestReadAgain reads a place a second time, and the whole copy if the mirror sends no parts.
func TestReadAgain(t *testing.T) {
	t.Parallel()
	text := randomText(1, pieceSize+1000)
	wrong := bytes.Clone(text)
	wrong[pieceSize+5] ^= 1
	good := pieces{sumOf(text[:pieceSize]), sumOf(text[pieceSize:])}
	for name, test := range map[string]struct {
		part, whole []byte // that the mirror sends; a part of nil: it sends no parts
		unsized     bool
		want        error // nil: it is wrong again
	}{
		"wrong":                        {part: wrong[pieceSize:]},
		"right":                        {part: text[pieceSize:], want: errPassed},
		"broken off":                   {part: wrong[pieceSize+1:], want: io.ErrUnexpectedEOF},
		"wrong, as a whole":            {whole: wrong},
		"right, as a whole":            {whole: text, want: errPassed},
		"broken off, as a whole":       {whole: wrong[1:], want: errSize},
		"of no known size, as a whole": {whole: wrong[:pieceSize], unsized: true, want: errSize},
	} {
		b := newBench(t)
		f := b.fileOf(text, !test.unsized)
		b.v.Fetch = func(_ context.Context, _ *Mirror, _ netip.Addr, _ string, offset, length int64) (*Copy, error) {
			sent := test.part
			if length == 0 || sent == nil {
				sent = test.whole
			} else if offset != pieceSize || length != 1000 {
				t.Errorf("%s: %d bytes from %d are read", name, length, offset)
			}
			return &Copy{Body: &body{Reader: bytes.NewReader(sent)}, Size: -1, Whole: test.part == nil}, nil
		}
		r := b.read(f, "sum")
		r.pieces, r.size = pieces{good[0], sumOf(wrong[pieceSize:])}, int64(len(text))
		found, err := b.v.readAgain(t.Context(), b.m, seenMirror, f, r, 1, good)
		if !errors.Is(err, test.want) || err == nil && test.part != nil && !bytes.Equal(found, test.part) {
			t.Errorf("%s: %d bytes, %v, want %v", name, len(found), err, test.want)
		}
	}
}
