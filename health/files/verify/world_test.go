package verify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"mirrorpool/health/files/checksums"
)

// A world is an origin and mirrors with their files. Its clock is that of the synctest bubble that it lives in.
type world struct {
	v    *Verifier
	sums *checksums.Store
	logs *observer.ObservedLogs
	stop func()

	mu      sync.Mutex
	origin  map[string][]byte
	mirrors map[string]*fakeMirror // by url_prefix
	newest  map[string]bool        // paths of the newest release
	changes int                    // calls of Changed
	noPath  bool                   // the origin's files cannot be read
	far     bool                   // they can, from another host
	hangs   bool                   // likewise, and gives no answer
	noSizes bool                   // the origin does not tell the sizes of files
}

// A fakeMirror is a mirror, and what is wrong with it.
type fakeMirror struct {
	files   map[string][]byte
	speed   float64 // bytes a second
	faults  func(r *rand.Rand, text []byte) (body io.Reader, size int64, err error)
	random  *rand.Rand
	badHost netip.Addr // where the faults are; the zero value: at all addresses
	noParts bool
	reads   map[string]int // whole ones, by path
	parts   int
	sent    int64
}

const testRate = 1e6

// newWorld returns a world with mirrors that have what the origin has.
func newWorld(t *testing.T, origin map[string][]byte, options Options, mirrors ...string) *world {
	t.Helper()
	w := &world{origin: origin, mirrors: map[string]*fakeMirror{}, newest: map[string]bool{}}
	w.sums = checksums.NewStore(checksums.Options{
		Settings: checksums.Settings{Wanted: func(string, int64) bool { return true }}, Log: zap.NewNop(), Now: time.Now,
	})
	var core zapcore.Core
	core, w.logs = observer.New(zap.InfoLevel)
	if options.Settings.Rate == 0 {
		options.Settings.Rate = testRate
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Delay == 0 {
		options.Delay = time.Second // the test changes the world before the first read
	}
	options.Files, options.Fetch, options.Origin = w.sums.Files, w.fetch, w.readOrigin
	options.OriginIsNear = func() bool { w.mu.Lock(); defer w.mu.Unlock(); return !w.noPath && !w.far }
	options.IsNewest = func(path string) bool { w.mu.Lock(); defer w.mu.Unlock(); return w.newest[path] }
	options.Has = func(int, string) bool { return true }
	options.Changed = func() { w.mu.Lock(); defer w.mu.Unlock(); w.changes++ }
	options.Random, options.Log = rand.New(rand.NewPCG(1, 2)), zap.New(core)
	for i, prefix := range mirrors {
		m := &fakeMirror{files: map[string][]byte{}, speed: 10e6, random: rand.New(rand.NewPCG(3, uint64(i))), reads: map[string]int{}}
		for path, text := range origin {
			m.files[path] = bytes.Clone(text)
		}
		w.mirrors[prefix] = m
	}
	w.v = New(options)
	w.publish()
	w.v.LoadState()
	w.observe()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.v.Run(ctx) }()
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	synctest.Wait()
	return w
}

// publish has the checksums be those of the origin's files.
func (w *world) publish() {
	l := w.sums.NewListing()
	for path, text := range w.origin {
		digest := sha256.Sum256(text)
		sum, _ := checksums.NewSum(digest[:])
		size := int64(len(text))
		if w.noSizes {
			size = -1
		}
		l.Add(path, size, uint32(len(text)), &sum)
	}
	w.sums.Take(l)
}

func (w *world) observe() {
	var seen []Mirror
	w.mu.Lock()
	for prefix := range w.mirrors {
		seen = append(seen, Mirror{URLPrefix: prefix, Number: len(seen), Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}})
	}
	w.mu.Unlock()
	w.v.Observe(seen)
}

// do changes the world.
func (w *world) do(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// A slowBody arrives at a speed.
type slowBody struct {
	io.Reader
	of *fakeMirror
}

func (b *slowBody) Read(to []byte) (int, error) {
	n, err := b.Reader.Read(to)
	time.Sleep(time.Duration(float64(n) / b.of.speed * float64(time.Second)))
	return n, err
}

func (b *slowBody) Close() error { return nil }

func (w *world) fetch(_ context.Context, seen *Mirror, addr netip.Addr, path string, offset, length int64) (*Copy, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := w.mirrors[seen.URLPrefix]
	if m == nil {
		return nil, errReset
	}
	text, ok := m.files[path]
	switch {
	case !ok:
		return nil, fs.ErrNotExist
	case length == 0:
		m.reads[path]++
	case !m.noParts:
		m.parts++
		text = text[offset:min(offset+length, int64(len(text)))]
	}
	m.sent += int64(len(text))
	body, size := io.Reader(bytes.NewReader(text)), int64(len(text))
	if m.faults != nil && (m.badHost == addr || !m.badHost.IsValid()) {
		var err error
		if body, size, err = m.faults(m.random, text); err != nil {
			return nil, err
		}
	}
	return &Copy{Body: &slowBody{body, m}, Size: size, Whole: length == 0 || m.noParts, Certificate: "the certificate"}, nil
}

func (w *world) readOrigin(ctx context.Context, path string, offset, length int64) ([]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.hangs:
		w.mu.Unlock()
		defer w.mu.Lock()
		<-ctx.Done()
		return nil, ctx.Err()
	case w.noPath:
		return nil, ErrNoOrigin
	}
	return w.origin[path][offset : offset+length], nil
}

// readAllAgain begins another pass.
func (w *world) readAllAgain() {
	w.v.mu.Lock()
	defer w.v.mu.Unlock()
	for _, m := range w.v.mirrors {
		m.done.Clear()
		clear(m.later)
		m.next = time.Time{}
	}
}

// corruptOf returns the corrupt files of a mirror.
func (w *world) corruptOf(prefix string) (paths []string) {
	for _, found := range w.v.Report()[prefix].Corrupt {
		paths = append(paths, found.Path)
	}
	return paths
}

// wantCorruptBySecondCopy wants a mirror's file to be corrupt after two whole reads that are wrong, and not after one.
func (w *world) wantCorruptBySecondCopy(t *testing.T, prefix, path string) {
	t.Helper()
	time.Sleep(retryTime / 2)
	if len(w.corruptOf(prefix)) > 0 {
		t.Error("it is accused after one wrong copy")
	}
	time.Sleep(retryTime)
	if diff := cmp.Diff([]string{path}, w.corruptOf(prefix)); diff != "" {
		t.Errorf("corrupt: -want +got:\n%s", diff)
	}
}

// randomText returns so many bytes, the same for the same seed.
func randomText(seed uint64, size int) []byte {
	random := rand.New(rand.NewPCG(seed, 7))
	text := make([]byte, size)
	for i := 0; i+8 <= size; i += 8 {
		for k, bits := 0, random.Uint64(); k < 8; k++ {
			text[i+k] = byte(bits >> (8 * k))
		}
	}
	return text
}

var errReset = errors.New("connection reset by peer")

// unsteady breaks most reads in one way or another, as networks and busy servers do, and none by wrong bytes in a read
// that is complete.
func unsteady(r *rand.Rand, text []byte) (io.Reader, int64, error) {
	size := int64(len(text))
	switch cut := r.Int64N(size + 1); r.IntN(10) {
	case 0:
		return nil, 0, errors.New("503 Service Unavailable")
	case 1: // reset
		return io.MultiReader(bytes.NewReader(text[:cut]), failingReader{errReset}), size, nil
	case 2: // the end comes early, with a length
		return bytes.NewReader(text[:cut]), size, nil
	case 3: // and without one
		return bytes.NewReader(text[:cut]), -1, nil
	case 4: // another page, with the right status
		page := fmt.Sprintf("<html>busy, request %016x</html>", r.Uint64())
		return strings.NewReader(page), int64(len(page)), nil
	case 5: // garbage, and then a reset
		return io.MultiReader(bytes.NewReader(randomText(1, int(cut))), failingReader{errReset}), size, nil
	}
	return bytes.NewReader(text), size, nil
}

type failingReader struct{ err error }

func (r failingReader) Read([]byte) (int, error) { return 0, r.err }
