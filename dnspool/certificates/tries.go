package certificates

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"
	"go.uber.org/zap"
)

// Let's Encrypt refuses further orders for a name when 5 validations of an account have failed in an hour
// (https://letsencrypt.org/docs/rate-limits/). Other authorities have limits of the same kind.
const (
	maxTries  = 5
	triesTime = time.Hour + time.Minute // clocks differ
)

// tries are the validations of a name, or of the wildcard below it, that an authority was asked for since a certificate
// was saved. A certificate that is issued without a validation counts as one. They are saved in state_dir, so that a
// restart does not begin to count anew, and copies of the program count together.
type tries struct {
	At    []time.Time `json:"at"`
	Error string      `json:"error"` // of the latest
}

// A waitError says that no validation is asked for before a time.
type waitError struct {
	until time.Time
	last  string // error of the latest validation
}

// Error is described at [error].
func (e *waitError) Error() string {
	text := fmt.Sprintf("%d orders failed within an hour; authorities refuse more, so the next is tried after %s",
		maxTries, e.until.UTC().Format("15:04:05 MST"))
	if e.last != "" {
		text += "; the latest failed with: " + e.last
	}
	return text
}

// check returns a waitError if too many validations have failed.
func (t *tries) check() error {
	if len(t.At) < maxTries {
		return nil
	}
	return &waitError{t.At[len(t.At)-maxTries].Add(triesTime), t.Error}
}

// mayTry returns a waitError if too many validations of a name have failed.
func (i *issuer) mayTry(ctx context.Context, name string) error {
	t, err := i.loadTries(ctx, name)
	if err != nil {
		return err
	}
	return t.check()
}

// noteTry counts a validation, before the authority is asked for it. It may return a waitError.
func (i *issuer) noteTry(ctx context.Context, name string) error {
	return i.changeTries(ctx, name, func(t *tries) error {
		if err := t.check(); err != nil {
			return err
		}
		t.At = append(t.At, time.Now().UTC())
		return nil
	})
}

// noteFailure saves the error of a validation, for the time in which there is no other.
func (i *issuer) noteFailure(ctx context.Context, name string, failure error) error {
	return i.changeTries(ctx, name, func(t *tries) error {
		t.Error = failure.Error()
		return nil
	})
}

// forgetTries ends the count at an authority, once a certificate is saved.
func (a *ACME) forgetTries(ctx context.Context, authority, name string) {
	if err := a.storage.Delete(ctx, triesKey(authority, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.o.Log.Warn("cannot remove the count of failed orders", zap.String("name", name), zap.Error(err))
	}
}

func (i *issuer) triesKey(name string) string { return triesKey(i.IssuerKey(), name) }

func triesKey(authority, name string) string {
	return path.Join("tries", authority, certmagic.StorageKeys.Safe(strings.TrimPrefix(name, "*."))+".json")
}

// loadTries returns the validations that count still. A file that cannot be read counts as none.
func (i *issuer) loadTries(ctx context.Context, name string) (t tries, err error) {
	text, err := i.storage.Load(ctx, i.triesKey(name))
	if errors.Is(err, fs.ErrNotExist) {
		return tries{}, nil
	}
	if err != nil {
		return tries{}, err
	}
	if json.Unmarshal(text, &t) != nil {
		return tries{}, nil
	}
	now := time.Now()
	t.At = slices.DeleteFunc(t.At, func(at time.Time) bool { return now.Sub(at) >= triesTime || at.After(now) })
	return t, nil
}

// changeTries changes the tries of a name, unless change returns an error.
func (i *issuer) changeTries(ctx context.Context, name string, change func(*tries) error) (err error) {
	ctx = context.WithoutCancel(ctx) // the authority counts what a reload ends, too
	if err := i.storage.Lock(ctx, i.triesKey(name)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, i.storage.Unlock(ctx, i.triesKey(name))) }()
	t, err := i.loadTries(ctx, name)
	if err != nil {
		return err
	}
	if err := change(&t); err != nil {
		return err
	}
	text, err := json.Marshal(t)
	if err != nil {
		return err
	}
	return i.storage.Store(ctx, i.triesKey(name), text)
}

// A countedSolver counts the validations that the authority is asked for.
type countedSolver struct {
	solver
	issuer *issuer
	name   string
	noted  bool // a validation was counted
}

// Present starts to give the answer, and counts the validation that follows.
func (s *countedSolver) Present(ctx context.Context, c acme.Challenge) error {
	if err := s.solver.Present(ctx, c); err != nil {
		return &cannotAnswer{err}
	}
	s.noted = true
	return s.issuer.noteTry(ctx, s.name)
}

// noteUnsaved counts a certificate that was issued without a validation, because the authority remembers an earlier
// one. The count ends when certmagic has saved the certificate.
func (s *countedSolver) noteUnsaved(ctx context.Context) {
	err := s.issuer.changeTries(ctx, s.name, func(t *tries) error {
		if !s.noted {
			t.At = append(t.At, time.Now().UTC())
		}
		t.Error = "the certificate was issued, but not saved"
		return nil
	})
	if err != nil {
		s.issuer.log.Warn("cannot count an issued certificate", zap.String("name", s.name), zap.Error(err))
	}
}

// cannotAnswer is why no answer can be given to a challenge. Another kind may help.
type cannotAnswer struct{ error }

// Unwrap is described at [errors.Is].
func (e *cannotAnswer) Unwrap() error { return e.error }
