package certificates

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"time"

	"go.uber.org/zap"
)

const (
	notedFolder = "txt"
	maxNoted    = 200 // that are tried to remove at a time
	removeTime  = 30 * time.Second
)

// A notedRecord is a TXT record at another server. It is noted in state_dir until it is removed.
type notedRecord struct {
	Name   string `json:"name"`   // that a certificate is ordered for
	Server string `json:"server"` // host:port that the record was added at; "": any target of updates for the name
	Record string `json:"record"`
	Value  string `json:"value"`
}

func (r notedRecord) key() string { return path.Join(notedFolder, r.Value+".json") } // the value is a digest in base64url

// notedTXT notes what it adds, so that a record which a crash leaves is removed later.
type notedTXT struct {
	TXTRecords
	name    string
	server  string
	storage *storage
	removed chan<- struct{} // signals that the server takes removals
}

// AddTXT is described at [TXTRecords].
func (n notedTXT) AddTXT(ctx context.Context, name, value string) error {
	record := notedRecord{n.name, n.server, name, value}
	if err := n.storage.Lock(ctx, record.key()); err != nil {
		return err
	}
	text, err := json.Marshal(record)
	if err == nil {
		err = n.storage.Store(ctx, record.key(), text)
	}
	if err != nil {
		return fmt.Errorf("noting a TXT record in state_dir: %w", err)
	}
	return n.TXTRecords.AddTXT(ctx, name, value)
}

// RemoveTXT is described at [TXTRecords].
func (n notedTXT) RemoveTXT(ctx context.Context, name, value string) error {
	key := notedRecord{Value: value}.key()
	defer n.storage.Unlock(ctx, key)
	if !n.storage.Exists(ctx, key) { // nothing was added
		return nil
	}
	if err := n.TXTRecords.RemoveTXT(ctx, name, value); err != nil {
		return err
	}
	signal(n.removed)
	return n.storage.Delete(ctx, key)
}

// removeLeft removes the TXT records that a crash or a failed removal has left, at the start and when an order has
// removed its own, until ctx ends.
func (a *ACME) removeLeft(ctx context.Context) {
	latest := ""
	for {
		keys, _ := a.storage.List(ctx, notedFolder, false) // without the folder there are none
		for _, key := range nextNoted(keys, latest) {
			latest = key
			if locked, err := a.storage.TryLock(ctx, key); !locked || err != nil {
				continue // its order is under way
			}
			a.removeNoted(ctx, key)
			a.storage.Unlock(ctx, key)
		}
		select {
		case <-a.removed:
		case <-ctx.Done():
			return
		}
	}
}

// nextNoted returns which notes follow on the latest one that was tried, and then from the first one on. So notes of
// records that cannot be removed do not keep the others from their turn.
func nextNoted(keys []string, latest string) []string {
	keys = slices.Sorted(slices.Values(keys))
	at, found := slices.BinarySearch(keys, latest)
	if found {
		at++
	}
	return slices.Concat(keys[at:], keys[:at])[:min(len(keys), maxNoted)]
}

// removeNoted removes one record, and its note.
func (a *ACME) removeNoted(ctx context.Context, key string) {
	var record notedRecord
	text, err := a.storage.Load(ctx, key)
	if err == nil {
		err = json.Unmarshal(text, &record)
	}
	if err == nil && record.key() != key {
		err = errors.New("not a note of a TXT record")
	}
	if err != nil {
		a.o.Log.Warn("cannot read the note of a TXT record", zap.String("file", a.storage.Filename(key)), zap.Error(err))
		return
	}
	ctx, cancel := context.WithTimeout(ctx, removeTime)
	defer cancel()
	fields := []zap.Field{zap.String("server", record.Server), zap.String("record", record.Record), zap.String("value", record.Value)}
	if err = a.o.UpdatesAt(record.Name, record.Server).RemoveTXT(ctx, record.Record, record.Value); err == nil {
		err = a.storage.Delete(ctx, key)
	}
	if err != nil {
		a.o.Log.Warn("cannot remove a TXT record that an earlier order has left; the next order tries again",
			append(fields, zap.String("note", a.storage.Filename(key)), zap.Error(err))...)
		return
	}
	a.o.Log.Info("removed a TXT record that an earlier order had left", fields...)
}
