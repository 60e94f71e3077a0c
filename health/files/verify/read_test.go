package verify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mirrorpool/health/files/checksums"
)

// A body is that of a response, and whether it was closed.
type body struct {
	io.Reader
	closed bool
}

func (b *body) Close() error { b.closed = true; return nil }

// sends has the mirror of a bench answer all requests with a text, of which it says how long it is.
func (b *bench) sends(text io.Reader, size int64, whole bool) *body {
	sent := &body{Reader: text}
	b.v.Fetch = func(context.Context, *Mirror, netip.Addr, string, int64, int64) (*Copy, error) {
		return &Copy{Body: sent, Size: size, Whole: whole, Certificate: "pem"}, nil
	}
	return sent
}

// fileOf returns file 0 of a bench with the checksum and the size of a text, or without a size.
func (b *bench) fileOf(text []byte, sized bool) *checksums.File {
	digest := sha256.Sum256(text)
	sum, _ := checksums.NewSum(digest[:])
	store := checksums.NewStore(checksums.Options{Settings: checksums.Settings{Wanted: func(string, int64) bool { return true }}})
	listing, size := store.NewListing(), int64(-1)
	if sized {
		size = int64(len(text))
	}
	listing.Add("0", size, 1, &sum)
	store.Take(listing)
	f := store.FindPath("0")
	b.v.forget(b.files[0], 0)
	b.v.number(f)
	return f
}

var seenMirror = Mirror{URLPrefix: "m", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}

// TestReadWhole reads a copy to its end, or says why it is none.
func TestReadWhole(t *testing.T) {
	t.Parallel()
	text := randomText(1, 1000)
	for name, test := range map[string]struct {
		sized bool
		text  io.Reader
		size  int64 // as the mirror says
		fault string
	}{
		"all":                            {true, bytes.NewReader(text), 1000, ""},
		"all, without a length":          {true, bytes.NewReader(text), -1, ""},
		"all, of a size not known":       {false, bytes.NewReader(text), 1000, ""},
		"all, with neither":              {false, bytes.NewReader(text), -1, ""},
		"short by its length":            {true, bytes.NewReader(text), 999, "another size: 999 bytes, want 1000"},
		"short":                          {true, bytes.NewReader(text[1:]), -1, "another size: 999 bytes, want 1000"},
		"long":                           {true, io.MultiReader(bytes.NewReader(text), strings.NewReader("x")), -1, "another size: 1001 bytes"},
		"broken off":                     {true, bytes.NewReader(text[1:]), 1000, "broke off after 999 of 1000"},
		"broken off, of no known size":   {false, bytes.NewReader(text[1:]), 1000, "broke off after 999 of 1000"},
		"an error":                       {true, io.MultiReader(bytes.NewReader(text[1:]), failingReader{errReset}), 1000, "reset"},
		"an error in place of the end":   {true, io.MultiReader(bytes.NewReader(text), failingReader{errReset}), -1, "reset"},
		"another length of unknown size": {false, bytes.NewReader(text[1:]), 999, ""},
	} {
		b := newBench(t)
		f := b.fileOf(text, test.sized)
		sent := b.sends(test.text, test.size, true)
		r, err := b.v.readWhole(t.Context(), b.m, seenMirror, f, f.Sum())
		switch {
		case !sent.closed:
			t.Errorf("%s: the body is open", name)
		case test.fault != "":
			if err == nil || !strings.Contains(err.Error(), test.fault) {
				t.Errorf("%s: got %v, want %s", name, err, test.fault)
			}
		case err != nil:
			t.Errorf("%s: %v", name, err)
		case r.want != f.Sum() || r.addr != seenMirror.Addresses[0] || r.certificate != "pem" || r.at != b.now || len(r.pieces) != 1:
			t.Errorf("%s: %+v", name, r)
		case name != "another length of unknown size" && (r.sum != f.Sum().String() || r.size != 1000):
			t.Errorf("%s: %+v", name, r)
		}
		if test.fault == "" && b.v.counts.Bytes != uint64(r.size) {
			t.Errorf("%s: %d bytes count", name, b.v.counts.Bytes)
		}
	}
}

// TestReadEmpty wants nothing of an empty file, and no more of any than the mirror has said.
func TestReadEmpty(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		sized bool
		text  string
		size  int64
		fault string
	}{
		{true, "", 0, ""}, {true, "xx", -1, "1 bytes, want 0"}, {false, "xx", 0, "after 2 of 0"},
	} {
		b := newBench(t)
		f := b.fileOf(nil, test.sized)
		b.sends(strings.NewReader(test.text), test.size, true)
		_, err := b.v.readWhole(t.Context(), b.m, seenMirror, f, f.Sum())
		if (err != nil) != (test.fault != "") || err != nil && !strings.Contains(err.Error(), test.fault) {
			t.Errorf("%q, of %d bytes: got %v, want %s", test.text, test.size, err, test.fault)
		}
	}
}

// TestTimer gives a mirror that sends slowly its time, also while this host waits for long.
func TestTimer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.v.Now = time.Now
		b.v.settings.Rate = 100
		text := randomText(1, burst+2*readSize)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		stalled := time.AfterFunc(stallTime, cancel)
		speed := 0.0
		var parts []io.Reader
		for part := range slices.Chunk(text[:1000], 100) {
			parts = append(parts, bytes.NewReader(part))
		}
		slow := &slowBody{io.MultiReader(parts...), &fakeMirror{speed: 10}}
		for what, from := range map[string]io.Reader{"slow": slow, "waiting": bytes.NewReader(text)} {
			began := time.Now()
			size, err := b.v.stream(ctx, b.m, from, sha256.New(), newPieceWriter(), stalled, &speed)
			if err != nil || time.Since(began) < stallTime {
				t.Errorf("%s: %v after %d bytes and %v", what, err, size, time.Since(began))
			}
			stalled.Reset(stallTime)
		}
	})
}

// A hook is a reader that has no bytes, and calls a function.
type hook func()

func (h hook) Read([]byte) (int, error) { h(); return 0, io.EOF }

// TestEndsInBetween gives up a read once the program ends.
func TestEndsInBetween(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	text := randomText(1, 1000)
	f := b.fileOf(text, true)
	ctx, cancel := context.WithCancel(t.Context())
	b.sends(io.MultiReader(bytes.NewReader(text[:500]), hook(cancel), bytes.NewReader(text[500:])), 1000, true)
	if _, err := b.v.readWhole(ctx, b.m, seenMirror, f, f.Sum()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestReadsNoMore asks nothing of a mirror once the program ends.
func TestReadsNoMore(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	f := b.fileOf(randomText(1, 1000), true)
	sent := b.sends(bytes.NewReader(randomText(1, 1000)), 1000, true)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.v.readWhole(ctx, b.m, seenMirror, f, f.Sum()); !errors.Is(err, context.Canceled) || sent.closed {
		t.Errorf("got %v", err)
	}
	b.v.Fetch = func(context.Context, *Mirror, netip.Addr, string, int64, int64) (*Copy, error) { return nil, errReset }
	if _, err := b.v.readWhole(t.Context(), b.m, seenMirror, f, f.Sum()); !errors.Is(err, errReset) {
		t.Errorf("got %v, want %v", err, errReset)
	}
}

// TestStall gives up a copy of which no byte comes for a minute, but not while this host waits itself.
func TestStall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.v.Now = time.Now
		b.v.settings.Rate = 20e3 // so that each read is waited for longer than a mirror may be
		text := randomText(1, burst+4<<20)
		f := b.fileOf(text, true)
		b.sends(bytes.NewReader(text), int64(len(text)), true)
		began := time.Now()
		if _, err := b.v.readWhole(t.Context(), b.m, seenMirror, f, f.Sum()); err != nil || time.Since(began) < 3*time.Minute {
			t.Errorf("%v, after %v", err, time.Since(began))
		}
		began = time.Now()
		b.v.settings.Rate, b.m.bucket = 1e6, bucket{}
		b.v.Fetch = func(ctx context.Context, _ *Mirror, _ netip.Addr, _ string, _, _ int64) (*Copy, error) {
			return &Copy{Body: &body{Reader: &silent{ctx, bytes.NewReader(text[:1000])}}, Size: int64(len(text))}, nil
		}
		if _, err := b.v.readWhole(t.Context(), b.m, seenMirror, f, f.Sum()); err == nil || time.Since(began) != stallTime {
			t.Errorf("%v, after %v", err, time.Since(began))
		}
	})
}

// silent sends something, and then nothing until its request ends.
type silent struct {
	ctx  context.Context
	text *bytes.Reader
}

func (s *silent) Read(to []byte) (int, error) {
	if s.text.Len() > 0 {
		return s.text.Read(to)
	}
	<-s.ctx.Done()
	return 0, s.ctx.Err()
}

// TestLongest is how long so many bytes may take.
func TestLongest(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, test := range []struct {
		rate, size int64
		want       time.Duration
	}{
		{1e6, 0, stallTime}, {1e6, 1e6, stallTime + 100*time.Second}, {1e3, 1e3, stallTime + 100*time.Second},
		{10, 1000, stallTime + 1000*time.Second},
	} {
		b.v.settings.Rate = test.rate
		if got := b.v.longest(test.size); got != test.want {
			t.Errorf("%d bytes at %d: %v, want %v", test.size, test.rate, got, test.want)
		}
	}
}

// TestReadPart reads a part of a copy, as it was asked for.
func TestReadPart(t *testing.T) {
	t.Parallel()
	text := randomText(1, 100)
	for name, test := range map[string]struct {
		text  io.Reader
		size  int64
		whole bool
		want  error // or any, if errReset
	}{
		"a part":                 {bytes.NewReader(text), 100, false, nil},
		"a part of no length":    {bytes.NewReader(text), -1, false, nil},
		"the whole file":         {bytes.NewReader(text), 100, true, errPart},
		"another size":           {bytes.NewReader(text), 99, false, errSize},
		"broken off":             {bytes.NewReader(text[:99]), 100, false, io.ErrUnexpectedEOF},
		"broken off in an error": {io.MultiReader(bytes.NewReader(text[:99]), failingReader{errReset}), 100, false, errReset},
	} {
		b := newBench(t)
		sent := b.sends(test.text, test.size, test.whole)
		got, err := b.v.readPart(t.Context(), b.m, &seenMirror, b.files[0], seenMirror.Addresses[0], 5, 100)
		if !errors.Is(err, test.want) || err == nil && !bytes.Equal(got, text) || !sent.closed {
			t.Errorf("%s: %v, closed: %t", name, err, sent.closed)
		}
		if err == nil && b.v.counts.Bytes != 100 {
			t.Errorf("%s: %d bytes count", name, b.v.counts.Bytes)
		}
	}
	b := newBench(t)
	b.v.Fetch = func(ctx context.Context, _ *Mirror, _ netip.Addr, _ string, _, _ int64) (*Copy, error) {
		if until, ok := ctx.Deadline(); !ok || time.Until(until) > stallTime {
			t.Error("it has no end")
		}
		return nil, errReset
	}
	if _, err := b.v.readPart(t.Context(), b.m, &seenMirror, b.files[0], seenMirror.Addresses[0], 5, 100); !errors.Is(err, errReset) {
		t.Errorf("got %v", err)
	}
}

// TestGoodPieces takes what is right from a good copy or the origin, as long as that has the checksum.
func TestGoodPieces(t *testing.T) {
	t.Parallel()
	text := randomText(1, pieceSize+5)
	want := pieces{sumOf(text[:pieceSize]), sumOf(text[pieceSize:])}
	b := newBench(t)
	f := b.fileOf(text, true)
	near, asked := false, 0
	b.v.OriginIsNear = func() bool { return near }
	b.v.Origin = func(_ context.Context, _ string, offset, length int64) ([]byte, error) {
		asked++
		return text[offset : offset+length], nil
	}
	get := func(what string, want pieces, wantAsked int) {
		t.Helper()
		asked = 0
		if got := b.v.goodPieces(t.Context(), f, f.Sum()); !slices.Equal(got, want) || asked != wantAsked {
			t.Errorf("%s: %d pieces, and the origin is asked %d times", what, len(got), asked)
		}
	}
	get("far", nil, 0)
	near = true
	get("near", want, 2)
	get("known", want, 0)
	if asked = 0; b.v.goodPieces(t.Context(), b.gone, b.gone.Sum()) != nil || asked > 0 {
		t.Error("a file that is gone has pieces")
	}
	other := b.files[1].Sum()
	if b.v.goodPieces(t.Context(), f, other) != nil {
		t.Error("a file with another checksum has pieces")
	}
	b.v.dropPieces(f)
	if len(b.v.pieces) != 0 || b.v.kept != 0 {
		t.Errorf("%d pieces of %d files are kept", b.v.kept, len(b.v.pieces))
	}
	text[7] ^= 1
	get("with another checksum", nil, 2)
	if !b.v.wrong[f] || len(b.v.pieces) != 0 {
		t.Error("the checksum is not wrong")
	}
	b.v.Origin = func(context.Context, string, int64, int64) ([]byte, error) { asked++; return nil, ErrNoOrigin }
	get("not to be read", nil, 1)
	if b.logs.FilterMessageSnippet("cannot read").Len() != 1 || b.logs.FilterMessageSnippet("does not have its checksum").Len() != 1 {
		t.Errorf("%d lines are logged", b.logs.Len())
	}
	b.v.Origin = func(context.Context, string, int64, int64) ([]byte, error) {
		b.v.mu.Lock()
		defer b.v.mu.Unlock()
		if number, ok := b.v.numbers[f]; ok {
			b.v.forget(f, number)
		}
		return text[:pieceSize], nil
	}
	if b.v.goodPieces(t.Context(), f, f.Sum()) != nil || len(b.v.wrong) > 0 || len(b.v.pieces) > 0 {
		t.Error("something is kept of a file that went away meanwhile")
	}
	unsized := newBench(t)
	f = unsized.fileOf(text, false)
	unsized.v.OriginIsNear = func() bool { return true }
	if unsized.v.goodPieces(t.Context(), f, f.Sum()) != nil {
		t.Error("a file of no known size has pieces")
	}
	empty := newBench(t)
	f = empty.fileOf(nil, true)
	empty.v.OriginIsNear, empty.v.sums[0] = func() bool { return true }, *other
	if empty.v.goodPieces(t.Context(), f, other) != nil || !empty.v.wrong[f] {
		t.Error("the wrong checksum of an empty file is not known to be wrong")
	}
	even := newBench(t)
	f = even.fileOf(text[:pieceSize], true)
	even.v.OriginIsNear = func() bool { return true }
	even.v.Origin = func(_ context.Context, _ string, offset, length int64) ([]byte, error) {
		if offset != 0 || length != pieceSize {
			t.Errorf("%d bytes of the origin are read from %d, of a file of one piece", length, offset)
		}
		return text[offset : offset+length], nil
	}
	if got := even.v.goodPieces(t.Context(), f, f.Sum()); len(got) != 1 {
		t.Errorf("a file of one piece has %d", len(got))
	}
}

// TestKeepPieces bounds how many pieces are kept.
func TestKeepPieces(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	half := make(pieces, maxPieces/2)
	b.v.keepPieces(b.files[0], half)
	b.v.keepPieces(b.files[1], half)
	if len(b.v.pieces) != 2 || b.v.kept != maxPieces {
		t.Errorf("%d pieces of %d files", b.v.kept, len(b.v.pieces))
	}
	b.v.keepPieces(b.files[1], pieces{{1}})
	if len(b.v.pieces[b.files[1]]) != maxPieces/2 || b.v.kept != maxPieces {
		t.Error("pieces that are known are replaced")
	}
	b.v.keepPieces(b.files[2], pieces{{1}})
	if len(b.v.pieces) != 2 || b.v.kept != maxPieces/2+1 || b.v.pieces[b.files[2]] == nil {
		t.Errorf("%d pieces of %d files, when there is room for one more", b.v.kept, len(b.v.pieces))
	}
	b.v.dropPieces(b.files[2])
	if got := b.v.keepPieces(b.files[2], make(pieces, maxPieces+1)); len(got) != maxPieces+1 || b.v.pieces[b.files[2]] != nil {
		t.Error("more than all are kept")
	}
	b.v.keepPieces(b.files[2], make(pieces, maxPieces))
	if len(b.v.pieces) != 1 || b.v.kept != maxPieces {
		t.Errorf("%d pieces of %d files, of one as large as may be", b.v.kept, len(b.v.pieces))
	}
}

// TestOlder keeps a bounded number of versions, for a day.
func TestOlder(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.v.Files = func() []*checksums.File { return b.files[1:] }
	b.v.list()
	was := b.files[0].Sum().String()
	if !b.v.isOlder(b.files[0], was) || b.v.isOlder(b.files[0], "a") || b.v.isOlder(b.files[1], was) {
		t.Error("the version before is not known")
	}
	b.now = b.now.Add(olderTime - time.Second)
	if b.v.list(); !b.v.isOlder(b.files[0], was) {
		t.Error("it is forgotten too soon")
	}
	b.now = b.now.Add(time.Second)
	if b.v.isOlder(b.files[0], was) {
		t.Error("it counts for too long")
	}
	if b.v.list(); len(b.v.older) != 0 {
		t.Error("it is kept")
	}
	b.v.noteOlder(1, "")
	for i := range maxOlder + 1 {
		b.v.noteOlder(uint64(i), "a")
	}
	if len(b.v.older) != maxOlder {
		t.Errorf("%d versions are kept", len(b.v.older))
	}
}

// TestPause waits for a time, or until it is of no use.
func TestPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		pause(t.Context(), -time.Second)
		pause(t.Context(), 0)
		if time.Since(began) != 0 {
			t.Errorf("%v for nothing", time.Since(began))
		}
		if pause(t.Context(), time.Second); time.Since(began) != time.Second {
			t.Errorf("%v, want a second", time.Since(began))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if pause(ctx, time.Hour); time.Since(began) != time.Second {
			t.Errorf("%v after the end", time.Since(began))
		}
	})
}

// TestWaits waits until what was read before is within the rate; not while there is none.
func TestWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.v.Now = time.Now
		if wait := b.v.take(b.m, time.Now(), burst+1000); wait != time.Second {
			t.Errorf("%v after a burst and 1000 bytes", wait)
		}
		began := time.Now()
		if err := b.v.waitFor(t.Context(), b.m); err != nil || time.Since(began) != (burst+1000)*time.Millisecond {
			t.Errorf("%v, after %v", err, time.Since(began))
		}
		b.v.take(b.m, time.Now(), burst+1000)
		b.v.settings.Rate = 0
		if wait := b.v.take(b.m, time.Now(), 1000); wait != 0 {
			t.Errorf("%v without a rate", wait)
		}
		if b.v.counts.Bytes != 2*(burst+1000)+1000 {
			t.Errorf("%d bytes count", b.v.counts.Bytes)
		}
		began = time.Now()
		if err := b.v.waitFor(t.Context(), b.m); err != nil || time.Since(began) != 0 {
			t.Errorf("%v, after %v", err, time.Since(began))
		}
	})
}
