package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
	"go.uber.org/zap"

	"mirrorpool/health/files/checksums"
)

const (
	readSize  = 32 << 10
	stallTime = time.Minute // without a byte, after which a read is given up
	// A read is given up, too, that gets less than this part of files.verify_rate: while one mirror is read for a file,
	// the others wait, and a body that trickles would keep them waiting for weeks.
	leastPart = 100
)

// A reading is a whole read of a copy that arrived complete.
type reading struct {
	want        *checksums.Sum // of the file, when the read began
	sum         string
	pieces      pieces
	addr        netip.Addr
	certificate string
	at          time.Time
	size        int64
	speed       float64 // bytes a second; 0 if it is not known
}

var (
	errSize = errors.New("the copy has another size")
	errPart = errors.New("the mirror does not send parts of files")
	errSlow = errors.New("the copy comes too slowly")
	errOff  = errors.New("files.verify_rate is 0 meanwhile")
)

// readWhole reads a mirror's copy of a file that should have a checksum. The error says why nothing is known of it.
func (v *Verifier) readWhole(
	ctx context.Context, m *mirror, seen Mirror, f *checksums.File, want *checksums.Sum,
) (*reading, error) {
	addr := v.address(m, &seen, f)
	if err := v.waitFor(ctx, m); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stalled := time.AfterFunc(stallTime, cancel)
	defer stalled.Stop()
	copied, err := v.Fetch(ctx, &seen, addr, f.Path, 0, 0)
	if err != nil {
		return nil, err
	}
	defer copied.Body.Close()
	if copied.Size >= 0 && f.Size >= 0 && copied.Size != f.Size {
		return nil, fmt.Errorf("%w: %d bytes, want %d", errSize, copied.Size, f.Size)
	}
	digest, parts := want.NewHash(), newPieceWriter()
	r := &reading{want: want, addr: addr, certificate: copied.Certificate, at: v.Now()}
	body := io.Reader(copied.Body)
	if f.Size >= 0 {
		body = io.LimitReader(body, f.Size+1) // one without an end would keep other mirrors from being read for days
	}
	size, err := v.stream(ctx, m, body, digest, parts, stalled, &r.speed)
	switch {
	case err != nil:
		return nil, err
	case copied.Size >= 0 && size != copied.Size:
		return nil, fmt.Errorf("the copy broke off after %d of %d bytes", size, copied.Size)
	case f.Size >= 0 && size != f.Size:
		return nil, fmt.Errorf("%w: %d bytes, want %d", errSize, size, f.Size)
	}
	r.sum, r.pieces, r.size = fmt.Sprintf("%x", digest.Sum(nil)), parts.all(), size
	return r, nil
}

// stream reads a body to its end, at the rate of its mirror.
func (v *Verifier) stream(
	ctx context.Context, m *mirror, body io.Reader, digest hash.Hash, parts *pieceWriter, stalled *time.Timer, speed *float64,
) (size int64, err error) {
	buffer := make([]byte, readSize)
	var measured meter
	began := v.Now()
	for {
		n, err := body.Read(buffer)
		now := v.Now()
		digest.Write(buffer[:n])
		parts.Write(buffer[:n])
		size += int64(n)
		measured.note(now, n)
		stalled.Reset(stallTime)
		if wait := v.take(m, now, int64(n)); wait > 0 {
			measured.ended = true
			stalled.Reset(stallTime + wait)
			pause(ctx, wait)
		}
		*speed = measured.speed
		switch {
		case err == io.EOF:
			return size, nil
		case err != nil:
			return size, err
		case ctx.Err() != nil:
			return size, ctx.Err()
		case v.isOff():
			return size, errOff
		case now.Sub(began) > v.longest(size):
			return size, errSlow
		case len(parts.done) > maxPieces:
			return size, errSize
		}
	}
}

// isOff reports whether no file is to be read any more.
func (v *Verifier) isOff() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.settings.Rate == 0
}

// longest is the time that so many bytes of a copy may take.
func (v *Verifier) longest(size int64) time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	return stallTime + time.Duration(float64(size)*leastPart/float64(max(v.settings.Rate, leastPart))*float64(time.Second))
}

// take takes bytes out of what may be read from a mirror, and returns how long to wait.
func (v *Verifier) take(m *mirror, now time.Time, bytes int64) time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.counts.Bytes += uint64(bytes)
	if v.settings.Rate == 0 {
		return 0
	}
	return m.bucket.take(now, bytes, v.settings.Rate)
}

// waitFor waits until as many bytes may be read from a mirror as show how fast it is.
func (v *Verifier) waitFor(ctx context.Context, m *mirror) error {
	v.mu.Lock()
	var wait time.Duration
	if v.settings.Rate > 0 {
		wait = m.bucket.wait(v.Now(), v.settings.Rate)
	}
	v.mu.Unlock()
	pause(ctx, wait)
	return ctx.Err()
}

// address returns the address of a mirror at which a file is read: where a copy of it has differed, if that is one of
// them, or else one at random. The hosts behind them may have copies of their own.
func (v *Verifier) address(m *mirror, seen *Mirror, f *checksums.File) netip.Addr {
	v.mu.Lock()
	defer v.mu.Unlock()
	if number, ok := v.numbers[f]; ok && slices.Contains(seen.Addresses, m.places[number]) {
		return m.places[number]
	}
	return seen.Addresses[v.Random.IntN(len(seen.Addresses))]
}

// has reports whether an address is one of a mirror's, up or down.
func (m *Mirror) has(addr netip.Addr) bool {
	return slices.Contains(m.Addresses, addr) || slices.Contains(m.Down, addr)
}

// pause waits for a time, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// verify reads a mirror's copy of a file, and takes in what that proves.
func (v *Verifier) verify(ctx context.Context, m *mirror, seen Mirror, f *checksums.File) {
	r, err := v.readWhole(ctx, m, seen, f, f.Sum())
	switch {
	case ctx.Err() != nil:
	case err != nil:
		v.takeBroken(m, f, err)
	case r.sum == r.want.String():
		v.takeGood(m, f, r)
		v.confirmSuspects(f)
	default:
		v.takeWrong(ctx, m, seen, f, r)
	}
}

// takeWrong takes in a complete read with another checksum. It is a proof only if it is known what the file should be,
// and a second read of the place that is wrong is as wrong; or if the next copy has the same checksum, for a mirror
// that sends whole copies that are wrong, and parts that are right or none.
func (v *Verifier) takeWrong(ctx context.Context, m *mirror, seen Mirror, f *checksums.File, r *reading) {
	if v.isOlder(f, r.sum) {
		v.takeBroken(m, f, errors.New("it is an older version of the file"))
		return
	}
	good := v.goodPieces(ctx, f, r.want)
	if good == nil {
		v.suspect(m, f, r)
		return
	}
	piece, ok := r.pieces.firstOther(good)
	if !ok {
		v.takeBroken(m, f, errors.New("no piece of the copy is wrong"))
		return
	}
	var found []byte
	err := errSize
	cut := mayBeCut(f, piece, r.pieces, good)
	if !cut {
		found, err = v.readAgain(ctx, m, seen, f, r, piece, good)
	}
	switch {
	case ctx.Err() != nil:
	case err != nil && !v.noteWrong(m, f, r):
		v.takeBroken(m, f, err)
	case !cut && v.isOrigins(ctx, m, f, r, piece, found):
		v.takeBroken(m, f, errors.New("the origin has the same bytes, and they are not those of the checksum"))
	default:
		v.accuse(ctx, m, f, r, int64(piece)*pieceSize, found)
	}
}

// isOrigins reports whether a piece of a copy that is wrong is as the origin has it: that has changed, and the mirror
// has got the change before the origin was listed again. Where the origin's files are read from another host, that
// counts for a day: it may be the mirror itself. Where they cannot be read, it may be so until the next copy, an hour
// later, is wrong as well.
func (v *Verifier) isOrigins(ctx context.Context, m *mirror, f *checksums.File, r *reading, piece int, found []byte) bool {
	offset := int64(piece) * pieceSize
	has, err := v.originPart(ctx, f, offset, min(pieceSize, r.size-offset))
	if err != nil {
		was := v.wasWrong(m, f)
		v.noteWrong(m, f, r)
		return !was
	}
	if sumOf(has) != r.pieces[piece] && !bytes.Equal(has, found) {
		return false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	_, listed := v.numbers[f]
	if _, known := v.differs[f]; listed && !known {
		v.differs[f] = v.Now()
	}
	return v.OriginIsNear() || v.Now().Sub(v.differs[f]) < olderTime
}

// A version is what a file was before it changed: the xxhash of its path, and its checksum.
type version struct {
	path uint64
	sum  string
}

// maxOlder is how many versions are kept.
const maxOlder = checksums.MaxFiles

// noteOlder notes what a file was. v.mu is held.
func (v *Verifier) noteOlder(path uint64, sum string) {
	if len(v.older) < maxOlder && sum != "" {
		v.older[version{path, sum}], v.dirty = v.Now().Add(olderTime), true
	}
}

// isOlder reports whether a file had a checksum of late: a mirror that has not got the change yet is not corrupt.
func (v *Verifier) isOlder(f *checksums.File, sum string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.Now().Before(v.older[version{xxhash.Sum64String(f.Path), sum}])
}

// mayBeCut reports whether a copy may differ at a piece because the copy has ended there, or the file has: it may have
// broken off, or be on its way to the mirror. Where the size of the file is known, it has been compared before.
func mayBeCut(f *checksums.File, piece int, copied, good pieces) bool {
	return f.Size < 0 && piece >= min(len(copied), len(good))-1
}

// noteWrong notes the checksum of a wrong copy, and reports whether the one before had the same.
func (v *Verifier) noteWrong(m *mirror, f *checksums.File, r *reading) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	number, ok := v.numberOf(f, r.want)
	if !ok {
		return false
	}
	m.distrust(number) // it is read again in an hour
	before := m.wrong[number]
	m.wrong[number], m.places[number] = r.sum, r.addr
	return before == r.sum
}

// wasWrong reports whether the copy before was wrong as a whole.
func (v *Verifier) wasWrong(m *mirror, f *checksums.File) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	number, ok := v.numbers[f]
	return ok && m.wrong[number] != ""
}

var errPassed = errors.New("a wrong place was right when it was read again")

// readAgain reads a piece of a copy a second time. The error is nil if it is wrong again. It returns the bytes of the
// piece, unless the mirror does not send parts of files, so that the whole copy has to be read for it.
func (v *Verifier) readAgain(
	ctx context.Context, m *mirror, seen Mirror, f *checksums.File, r *reading, piece int, good pieces,
) (found []byte, err error) {
	offset := int64(piece) * pieceSize
	found, err = v.readPart(ctx, m, &seen, f, r.addr, offset, min(pieceSize, r.size-offset))
	var sum pieceSum
	switch {
	case errors.Is(err, errPart):
		again, err := v.readWhole(ctx, m, seen, f, r.want)
		if err != nil {
			return nil, fmt.Errorf("reading a wrong place again: %w", err)
		}
		if mayBeCut(f, piece, again.pieces, good) {
			return nil, errSize
		}
		sum = again.pieces[piece]
	case err != nil:
		return nil, fmt.Errorf("reading a wrong place again: %w", err)
	default:
		sum = sumOf(found)
	}
	if sum == good[piece] {
		return nil, errPassed
	}
	return found, nil
}

// readPart reads a part of a copy. One that arrives otherwise than as asked for is an error.
func (v *Verifier) readPart(
	ctx context.Context, m *mirror, seen *Mirror, f *checksums.File, addr netip.Addr, offset, length int64,
) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, stallTime)
	defer cancel()
	copied, err := v.Fetch(ctx, seen, addr, f.Path, offset, length)
	if err != nil {
		return nil, err
	}
	defer copied.Body.Close()
	switch {
	case copied.Whole:
		return nil, errPart
	case copied.Size >= 0 && copied.Size != length:
		return nil, fmt.Errorf("%w: %d bytes of a part, want %d", errSize, copied.Size, length)
	}
	part := make([]byte, length)
	_, err = io.ReadFull(copied.Body, part)
	v.take(m, v.Now(), length)
	return part, err
}

// goodPieces returns the pieces that a file should have, or nil if no copy has matched its checksum yet. The origin's
// own copy is read for them, if that costs no other host anything.
func (v *Verifier) goodPieces(ctx context.Context, f *checksums.File, want *checksums.Sum) pieces {
	v.mu.Lock()
	_, current := v.numberOf(f, want)
	known, near := v.pieces[f], v.OriginIsNear()
	v.mu.Unlock()
	if !current {
		return nil
	}
	if known != nil || !near || f.Size < 0 {
		return known
	}
	digest, parts := want.NewHash(), newPieceWriter()
	for offset := int64(0); offset < f.Size; offset += pieceSize {
		part, err := v.originPart(ctx, f, offset, min(pieceSize, f.Size-offset))
		if err != nil {
			v.Log.Warn("cannot read a file of the origin to verify mirrors by it", zap.String("path", f.Path), zap.Error(err))
			return nil
		}
		digest.Write(part)
		parts.Write(part)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, current := v.numberOf(f, want); !current {
		return nil
	}
	if found := fmt.Sprintf("%x", digest.Sum(nil)); found != want.String() {
		v.wrong[f], v.differs[f] = true, v.Now()
		v.Log.Error("the origin's file does not have its checksum: mirrors are not verified by it", zap.String("path", f.Path),
			zap.Stringer("want", want), zap.String("found", found))
		return nil
	}
	return v.keepPieces(f, parts.all())
}

// originPart returns a part of the origin's file. A server that gives no answer must hold up nothing.
func (v *Verifier) originPart(ctx context.Context, f *checksums.File, offset, length int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, stallTime)
	defer cancel()
	return v.Origin(ctx, f.Path, offset, length)
}

// maxPieces is of how many pieces of files the checksums are kept: those of 512 GiB, in 8 MiB.
const maxPieces = 1 << 19

// keepPieces keeps the pieces of a good copy, and returns them. v.mu is held.
func (v *Verifier) keepPieces(f *checksums.File, known pieces) pieces {
	if v.pieces[f] != nil || len(known) > maxPieces {
		return known
	}
	for other := range v.pieces { // in no order; the next good copy brings them back
		if v.kept+len(known) <= maxPieces {
			break
		}
		v.dropPieces(other)
	}
	v.pieces[f] = known
	v.kept += len(known)
	return known
}

// dropPieces forgets the pieces of a file. v.mu is held.
func (v *Verifier) dropPieces(f *checksums.File) {
	v.kept -= len(v.pieces[f])
	delete(v.pieces, f)
}
