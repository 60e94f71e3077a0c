package certificates

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"time"

	"github.com/caddyserver/certmagic"

	"mirrorpool/config/safefile"
)

const (
	sharedFolder = "answers"
	sharedLimit  = 1 << 10   // bytes of a key authorization
	sharedTime   = time.Hour // after which an answer is one that a crash has left
)

// A sharedAnswers has the key authorizations of pending challenges in state_dir, so that each copy of the program gives
// the answers of all, while the new one of an upgrade listens beside the old one. The zero value shares nothing.
type sharedAnswers struct{ storage *storage }

// sharedKey returns where the answer to a challenge is. id may be of a client.
func sharedKey(kind, id string) string {
	return path.Join(sharedFolder, kind, certmagic.StorageKeys.Safe(id)+".txt")
}

func (s sharedAnswers) add(ctx context.Context, kind, id, text string) error {
	if s.storage == nil {
		return nil
	}
	return s.storage.Store(ctx, sharedKey(kind, id), []byte(text))
}

func (s sharedAnswers) find(kind, id string) (text string, ok bool) {
	if s.storage == nil {
		return "", false
	}
	answer, err := safefile.Read(s.storage.Filename(sharedKey(kind, id)), sharedLimit)
	return string(answer), err == nil
}

func (s sharedAnswers) remove(ctx context.Context, kind, id string) error {
	if s.storage == nil {
		return nil
	}
	err := s.storage.Delete(context.WithoutCancel(ctx), sharedKey(kind, id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// removeOld removes the answers that a crash has left.
func (s sharedAnswers) removeOld(ctx context.Context) {
	keys, _ := s.storage.List(ctx, sharedFolder, true) // without the folder there are none
	for _, key := range keys {
		if info, err := s.storage.Stat(ctx, key); err == nil && info.IsTerminal && time.Since(info.Modified) > sharedTime {
			s.storage.Delete(ctx, key)
		}
	}
}
