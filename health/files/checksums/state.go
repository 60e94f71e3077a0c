package checksums

import (
	"bytes"
	"encoding/gob"

	"github.com/cespare/xxhash/v2"
	"go.uber.org/zap"

	"mirrorpool/config/statefile"
)

// stateFormat is that of a file in state_dir.
var stateFormat = statefile.Format{Kind: "mirrorpool-checksums", Version: 1, Limit: 64 << 20}

// A savedFile is a file, as it is saved.
type savedFile struct {
	Path   string
	Size   int64
	Time   uint32
	Hashed bool
	Digest []byte
}

// SaveState saves the checksums, unless none has changed since that was done.
func (s *Store) SaveState() {
	s.mu.Lock()
	if s.StateFile == "" || !s.dirty {
		s.mu.Unlock()
		return
	}
	s.dirty = false
	s.mu.Unlock()
	var saved []savedFile
	for _, f := range s.Files() {
		sum := f.Sum()
		saved = append(saved, savedFile{f.Path, f.Size, f.Time, f.hashed.Load(), sum.digest[:sum.size]})
	}
	var body bytes.Buffer
	err := gob.NewEncoder(&body).Encode(saved)
	if err == nil {
		err = stateFormat.Replace(s.StateFile, body.Bytes())
	}
	if err != nil {
		s.Log.Error("cannot save the checksums of files", zap.Error(err))
		s.mu.Lock()
		s.dirty = true
		s.mu.Unlock()
	}
}

// LoadState takes in what an earlier run has saved. What is wrong with it is logged. It must be called before Run.
func (s *Store) LoadState() {
	if s.StateFile == "" {
		return
	}
	err := stateFormat.Load(s.StateFile, func(body []byte) error {
		var saved []savedFile
		if err := gob.NewDecoder(bytes.NewReader(body)).Decode(&saved); err != nil {
			return err
		}
		s.restore(saved)
		return nil
	})
	if err != nil {
		s.Log.Warn("ignoring saved checksums", zap.Error(err))
	}
}

// restore has saved checksums count until the origin is read, and then for the files that it still has.
func (s *Store) restore(saved []savedFile) {
	files := make(map[uint64]*File, len(saved))
	for i := range saved {
		f := &File{Path: saved[i].Path, Size: saved[i].Size, Time: saved[i].Time}
		sum, ok := NewSum(saved[i].Digest)
		if !ok {
			continue
		}
		f.sum.Store(&sum)
		f.hashed.Store(saved[i].Hashed)
		files[xxhash.Sum64String(f.Path)] = f
	}
	s.byPath.Store(&files)
}
