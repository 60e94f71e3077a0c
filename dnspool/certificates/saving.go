package certificates

import (
	"context"
	"crypto/tls"
	"errors"
	"os"
	"path"
	"strings"

	"mirrorpool/config/safefile"
)

// staged ends the names of files that are to replace those of a saved certificate.
const staged = ".new"

// noMetadata is a .json that says nothing of a certificate: certmagic asks the authority again.
const noMetadata = `{"issuer_data": {}}`

// The files of a saved certificate are its key, its chain (.crt) and what the authority said about it (.json).
// certmagic stores them in this order, and deletes what it has stored if one cannot be. They are staged until all are
// there, so that the certificate before stays usable until then.

// Store saves a file.
func (s *storage) Store(ctx context.Context, key string, value []byte) error {
	site, ending, ok := siteOf(key)
	if !ok || ending == ".json" && !s.Exists(ctx, site+".crt"+staged) { // such as news on a certificate that stays
		return s.FileStorage.Store(ctx, key, value)
	}
	if err := s.FileStorage.Store(ctx, key+staged, value); err != nil || ending != ".json" {
		return err
	}
	complete, err := s.finish(ctx, site)
	if err == nil && !complete {
		err = errors.New("the new certificate does not match its key")
	}
	return err
}

// Delete removes a file. Of a certificate that is being saved it removes what is staged, unless finish has begun.
func (s *storage) Delete(ctx context.Context, key string) error {
	site, _, ok := siteOf(key)
	switch {
	case ok && s.Exists(ctx, site+".key"+staged):
		key += staged
	case ok && s.Exists(ctx, site+".crt"+staged):
		return nil
	}
	return s.FileStorage.Delete(ctx, key)
}

// siteOf splits the key of a file of a saved certificate before the ending.
func siteOf(key string) (site, ending string, ok bool) {
	ending = path.Ext(key)
	return strings.TrimSuffix(key, ending), ending, strings.HasPrefix(key, "certificates/") &&
		(ending == ".key" || ending == ".crt" || ending == ".json")
}

// finish replaces a saved certificate by the staged one, also where that was cut off. Staged files that make up no
// certificate are removed.
func (s *storage) finish(ctx context.Context, site string) (complete bool, err error) {
	var endings []string
	switch {
	case s.isPair(site+".key"+staged, site+".crt"+staged):
		endings = []string{".json", ".key", ".crt"} // while the chain is staged, the key is staged or in its place
	case s.isPair(site+".key", site+".crt"+staged):
		endings = []string{".json", ".crt"}
	}
	if len(endings) > 0 && !s.Exists(ctx, site+".json"+staged) {
		if err := s.FileStorage.Store(ctx, site+".json"+staged, []byte(noMetadata)); err != nil {
			return false, err
		}
	}
	for _, ending := range endings {
		file := s.Filename(site + ending)
		if err := os.Rename(file+staged, file); err != nil {
			return false, err
		}
	}
	for _, ending := range []string{".json", ".key", ".crt"} {
		err = errors.Join(err, s.FileStorage.Delete(ctx, site+ending+staged))
	}
	return len(endings) > 0, err
}

// isPair reports whether two files are a private key and the chain of its certificate.
func (s *storage) isPair(key, chain string) bool {
	keyText, keyErr := safefile.Read(s.Filename(key), maxPEM)
	text, err := safefile.Read(s.Filename(chain), maxPEM)
	if keyErr != nil || err != nil {
		return false
	}
	_, err = tls.X509KeyPair(text, keyText)
	return err == nil
}
