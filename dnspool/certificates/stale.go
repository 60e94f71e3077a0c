package certificates

import (
	"context"
	"path"
	"strings"
	"time"

	"golang.org/x/crypto/ocsp"
)

// removeStale removes what certificates of the past have left in state_dir: their OCSP responses, and lock files of
// crashes and of former versions.
func (s *storage) removeStale(ctx context.Context) {
	responses, _ := s.List(ctx, "ocsp", false) // without the folder there are none
	for _, key := range responses {
		text, err := s.Load(ctx, key)
		if err != nil {
			continue
		}
		if response, err := ocsp.ParseResponse(text, nil); err != nil || time.Now().After(response.NextUpdate) {
			s.Delete(ctx, key)
		}
	}
	locks, _ := s.List(ctx, "locks", false)
	for _, key := range locks {
		name := strings.TrimSuffix(path.Base(key), ".flock")
		if !strings.HasPrefix(name, suggestionLock) {
			continue
		}
		if locked, err := s.TryLock(ctx, name); locked && err == nil {
			s.Unlock(ctx, name)
		}
	}
}
