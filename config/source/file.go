package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"mirrorpool/config"
	"mirrorpool/config/safefile"
)

const (
	// Writing a file causes several events. They are taken as one when quietTime has passed
	// without another, at most quietLimit after the first.
	quietTime  = 100 * time.Millisecond
	quietLimit = time.Second
)

// A file is a source on disk.
type file struct{ path string }

func (f file) read(_ context.Context, suffix string, limit int, last *part) (*part, error) {
	data, err := config.ReadFile(f.path + suffix)
	switch {
	case err != nil && suffix == signatureSuffix:
		return nil, refuse("%v: %s", err, missingSignature)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return nil, err
	case err != nil:
		return nil, &RefusedError{err}
	case len(data) > limit:
		return nil, refuse("%s: want a file of at most %d bytes", f.path+suffix, limit)
	case last != nil && bytes.Equal(data, last.data):
		return last, nil
	}
	return &part{data: data}, nil
}

// watch reports changes of the file and its signature, and first that there is a file: it may have changed
// before the watch began.
//
// It watches folders, not the file: editors, Git and others put a new file in the place of the old one, and a
// watch on the old one would never tell. Changes of other files in the folders are passed over.
func (f file) watch(ctx context.Context, changed chan<- struct{}) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("cannot watch %s: %v", f.path, err)
	}
	defer w.Close()
	f.addFolders(w)
	var seen sight
	quiet := time.NewTimer(0)
	defer quiet.Stop()
	var first time.Time // of the events that wait for quiet; zero if there are none
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-w.Events:
			if !ok {
				return fmt.Errorf("cannot watch %s any longer", f.path)
			}
			now := time.Now()
			if first.IsZero() {
				first = now
			}
			quiet.Reset(min(quietTime, max(0, quietLimit-now.Sub(first))))
		case <-w.Errors: // too many events, perhaps: some are lost, so a look is due
			quiet.Reset(quietTime)
		case <-quiet.C:
			first = time.Time{}
			f.addFolders(w)
			if now := f.look(); !now.same(seen) {
				seen = now
				select {
				case changed <- struct{}{}:
				default: // one is waiting already
				}
			}
		}
	}
}

// addFolders watches the folder of the file; the one above, where a link to the folder may be put in place
// of another; and the one where the file really is, if a link leads there. To add one again is free, and
// needed where a folder was replaced. One that is missing is added when the one above reports it.
func (f file) addFolders(w *fsnotify.Watcher) {
	path, err := filepath.Abs(f.path)
	if err != nil {
		return
	}
	folder := filepath.Dir(path)
	folders := []string{folder, filepath.Dir(folder)}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		folders = append(folders, filepath.Dir(real))
	}
	for _, folder := range folders {
		_ = w.Add(folder) // the regular look is there for what cannot be watched
	}
}

// A sight is how a file and its signature look from outside.
type sight [2]os.FileInfo

func (f file) look() sight {
	var s sight
	for i, suffix := range [...]string{"", signatureSuffix} {
		if info, err := os.Stat(f.path + suffix); err == nil {
			s[i] = info
		}
	}
	return s
}

func (s sight) same(t sight) bool {
	for i := range s {
		if !safefile.Same(s[i], t[i]) {
			return false
		}
	}
	return true
}
