package source

import (
	"bytes"
	"context"
	"fmt"
	"time"
)

const (
	// signatureSuffix is what the name of a list's signature has more than that of the list.
	signatureSuffix  = ".minisig"
	maxSignatureSize = 4 << 10 // bytes; minisign's are below 400
)

// A part is what one name of a source holds: the list, or its signature.
type part struct {
	data []byte
	// What a web server said of it, to ask whether it has changed since. Empty for a file.
	etag, modified string
}

// A reader reads a source.
type reader interface {
	// read returns what the source holds under its name and suffix, at most limit bytes. Where that is
	// what last holds, it may return last itself; last may be nil.
	//
	// An error is a [*RefusedError] if the source answered with what can only be wrong, and any other
	// if it did not answer.
	read(ctx context.Context, suffix string, limit int, last *part) (*part, error)
}

// A watcher is a reader that can tell when its source may have changed.
type watcher interface {
	// watch leaves a token in changed, which has room for one, after each change until ctx ends. It returns an error if it
	// cannot watch.
	watch(ctx context.Context, changed chan<- struct{}) error
}

// A document is a list as its source has it.
type document struct {
	list      *part
	signature *part // nil if none is asked for
}

// same reports whether d and e hold the same bytes.
func (d *document) same(e *document) bool {
	if d == nil || e == nil || d == e {
		return d == e
	}
	if (d.signature == nil) != (e.signature == nil) || !d.sameList(e) {
		return false
	}
	return d.signature == nil || bytes.Equal(d.signature.data, e.signature.data)
}

// sameList reports whether d and e, neither of which may be nil, hold the same list.
func (d *document) sameList(e *document) bool { return bytes.Equal(d.list.data, e.list.data) }

// A RefusedError is why a list was read, and not accepted. To read it again does not help until it changes.
type RefusedError struct{ Err error }

func (e *RefusedError) Error() string { return e.Err.Error() }

// Unwrap gives e.Err.
func (e *RefusedError) Unwrap() error { return e.Err }

func refuse(format string, args ...any) error { return &RefusedError{fmt.Errorf(format, args...)} }

// settlePauses is how long to wait before a list and a signature that do not belong together are read again.
// Two files cannot be replaced at once, nor uploaded.
var settlePauses = [...]time.Duration{100 * time.Millisecond, 300 * time.Millisecond, time.Second}

// fetch reads the source, and checks the signature if there are keys. last is what was read before, or nil;
// if nothing has changed the result is last itself.
func fetch(ctx context.Context, r reader, keys *publicKeys, last *document) (*document, error) {
	d, err := fetchOnce(ctx, r, keys, last)
	if err != nil || keys == nil {
		return d, err
	}
	problem := keys.verify(d)
	for _, pause := range settlePauses {
		if problem == nil {
			break
		}
		if err := sleep(ctx, pause); err != nil {
			return nil, err
		}
		if d, err = fetchOnce(ctx, r, keys, d); err != nil {
			return nil, err
		}
		problem = keys.verify(d)
	}
	if problem != nil {
		return nil, &RefusedError{problem}
	}
	return d, nil
}

// fetchOnce reads the list, and its signature if there are keys.
func fetchOnce(ctx context.Context, r reader, keys *publicKeys, last *document) (*document, error) {
	if last == nil {
		last = &document{}
	}
	var d document
	var err error
	if d.list, err = r.read(ctx, "", maxListSize, last.list); err != nil {
		return nil, err
	}
	if keys != nil {
		if d.signature, err = r.read(ctx, signatureSuffix, maxSignatureSize, last.signature); err != nil {
			return nil, err
		}
	}
	if d.list == last.list && d.signature == last.signature {
		return last, nil
	}
	return &d, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
