package dnssec

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"mirrorpool/config/safefile"
	"mirrorpool/config/statefile"
)

// Save keeps keys that this program has made, and remembers which keys there are. It has to be called before they sign:
// after an error, which a full disk gives, the files are as they were. On no keys it does nothing.
func (k *Keys) Save() error {
	if k == nil || k.dir == "" {
		return nil
	}
	changes, err := k.stage()
	for _, change := range changes {
		if err == nil {
			err = change.Commit()
		} else {
			change.Discard()
		}
	}
	if err != nil {
		return fmt.Errorf("cannot keep the keys of %s: %w", k.Zone, err)
	}
	return nil
}

// CheckSave returns an error if Save would fail now, as on a full disk.
func (k *Keys) CheckSave() error {
	changes, err := k.stage()
	for _, change := range changes {
		change.Discard()
	}
	if err != nil {
		return fmt.Errorf("cannot keep the keys of %s: %w", k.Zone, err)
	}
	return nil
}

// stage writes all that has changed beside the files that it is to replace. After an error it returns what to discard.
// Keys that sign without end come first, the newest before others: where a crash comes in between, there is one that
// signs, whether a rollover goes on or steps of it are taken back.
func (k *Keys) stage() (changes []*statefile.Staged, err error) {
	for _, key := range slices.SortedStableFunc(slices.Values(k.All), savedFirst) {
		if key.secret == "" || k.leader != "" {
			continue
		}
		if changes, err = key.stage(k.folder(), changes); err != nil {
			return changes, err
		}
	}
	signers := k.signers()
	before, err := loadMemory(k.dir)
	if err == nil && before.signers.sameKeys(&signers) {
		return changes, nil
	}
	signers.Past = before.of(k.Zone).Past
	next := before.with(signers)
	change, err := next.stage(k.dir)
	if err != nil {
		return changes, err
	}
	return append(changes, change), nil
}

// savedFirst compares keys by the order in which their files are replaced.
func savedFirst(a, b *Key) int {
	withoutEnd := func(k *Key) bool {
		return !k.Times.Activate.IsZero() && k.Times.end().IsZero() && k.Times.Inactive.IsZero()
	}
	switch {
	case withoutEnd(a) == withoutEnd(b):
		return oldestFirst(b, a)
	case withoutEnd(a):
		return -1
	default:
		return 1
	}
}

// end returns when a key does nothing any more, or zero if that is not planned. With another algorithm, it signs on
// after it has left the DNSKEY records.
func (t *Times) end() time.Time {
	if t.Delete.IsZero() || t.Inactive.Before(t.Delete) {
		return t.Delete
	}
	return t.Inactive
}

// signers is what is remembered of k.
func (k *Keys) signers() signers {
	s := signers{Zone: k.Zone, Ends: map[string]time.Time{}, Inactive: map[string]time.Time{}, Since: map[string]time.Time{},
		Publishes: map[string]time.Time{}, Activates: map[string]time.Time{}, Deletes: map[string]time.Time{}}
	for _, key := range k.All {
		if !key.ours() {
			continue
		}
		s.Keys = append(s.Keys, key.id)
		for _, time := range []struct {
			of map[string]time.Time
			at time.Time
		}{{s.Ends, key.Times.end()}, {s.Inactive, key.Times.Inactive}, {s.Since, latest(k.since[key.id], k.sinceLater[key.id])},
			{s.Publishes, key.Times.Publish}, {s.Activates, key.Times.Activate}, {s.Deletes, key.Times.Delete}} {
			if !time.at.IsZero() {
				time.of[key.id] = time.at.UTC()
			}
		}
	}
	return s
}

// stage appends to changes those of both files of a key, unless there are none. The public one is the last: alone it
// would be an error.
func (k *Key) stage(dir string, changes []*statefile.Staged) ([]*statefile.Staged, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return changes, err
	}
	stem := filepath.Join(dir, fmt.Sprintf("K%s+%03d+%05d", k.Record.Hdr.Name, k.Record.Algorithm, k.Tag))
	for _, file := range []struct{ name, text string }{
		{stem + privateEnd, k.secret + k.Times.text()}, {stem + publicEnd, k.Record.String() + "\n"},
	} {
		if old, err := safefile.Read(file.name, maxKeyFile); err == nil && string(old) == file.text {
			continue
		}
		change, err := statefile.Stage(file.name, func(w io.Writer) error { _, err := io.WriteString(w, file.text); return err })
		if err != nil {
			return changes, err
		}
		changes = append(changes, change)
	}
	return changes, nil
}
