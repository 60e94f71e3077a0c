package certificates

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config/failure"
	"mirrorpool/config/safefile"
	"mirrorpool/config/statefile"
)

// A session ticket tells clients apart for as long as its key is known. A key encrypts new tickets for ticketTime, and
// is forgotten after keyTime: then all tickets that it has encrypted are worth nothing. That is enough for TLS 1.3,
// where each ticket has a secret of its own. In TLS 1.2 all tickets of a session have one secret; see unwrap.
const (
	ticketTime     = 8 * time.Hour
	keyTime        = 24 * time.Hour
	ticketInterval = time.Minute
)

var ticketFormat = statefile.Format{Kind: "mirrorpool-ticketkeys", Version: 1, Limit: 4 << 10}

// A ticketKey encrypts session tickets.
type ticketKey struct {
	Key  [32]byte  `json:"key"`
	Made time.Time `json:"made"`
}

// Tickets are the keys of session tickets (RFC 5077, RFC 8446 section 4.6.1). Copies of the program on one machine,
// such as the new one of an upgrade, share them by a file, so that clients resume their sessions at any of them.
type Tickets struct {
	file    string // "": they are not shared
	log     *zap.Logger
	configs []*tls.Config // that the keys are set in
	keys    []ticketKey   // the newest first
	failure failure.Last
}

// NewTickets sets the keys in configs. file is where they are shared, or "".
func NewTickets(file string, now time.Time, log *zap.Logger, configs ...*tls.Config) *Tickets {
	t := &Tickets{file: file, log: log, configs: configs}
	for _, c := range configs {
		c.UnwrapSession = func(ticket []byte, state tls.ConnectionState) (*tls.SessionState, error) {
			return unwrap(c, ticket, state)
		}
	}
	t.Rotate(now)
	return t
}

// unwrap decrypts a ticket, as crypto/tls does, which resumes sessions of TLS 1.2 for 7 days. A session whose secret is
// older than keyTime is not resumed: the client gets a full handshake.
func unwrap(c *tls.Config, ticket []byte, state tls.ConnectionState) (*tls.SessionState, error) {
	now := time.Now
	if c.Time != nil {
		now = c.Time
	}
	session, err := c.DecryptTicket(ticket, state)
	if session == nil || err != nil || now().Sub(secretMade(session)) >= keyTime {
		return nil, err
	}
	return session, nil
}

// secretMade returns when the secret of a session was made. It is at a fixed place in the encoding, which all versions
// of Go share: behind the TLS version, the type, and the cipher suite. It is the zero time if it is not there.
func secretMade(session *tls.SessionState) time.Time {
	const at = 2 + 1 + 2
	text, err := session.Bytes()
	if err != nil || len(text) < at+8 {
		return time.Time{}
	}
	return time.Unix(int64(binary.BigEndian.Uint64(text[at:])), 0)
}

// Run rotates the keys until ctx ends.
func (t *Tickets) Run(ctx context.Context) error {
	ticker := time.NewTicker(ticketInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			t.Rotate(now)
		}
	}
}

// Rotate takes in the keys of other copies, drops those that are too old, and makes a new one when it is time.
func (t *Tickets) Rotate(now time.Time) {
	before := t.keys
	shared, err := t.load()
	t.keys = current(slices.Concat(t.keys, shared), now)
	if len(t.keys) == 0 || now.Sub(t.keys[0].Made) >= ticketTime {
		made := ticketKey{Made: now.Round(0).UTC()} // as it is read from the file
		rand.Read(made.Key[:])                      // it never fails
		t.keys = slices.Insert(t.keys, 0, made)
	}
	if slices.ContainsFunc(t.keys, func(k ticketKey) bool { return !slices.Contains(shared, k) }) {
		err = errors.Join(err, t.save()) // also what an earlier call could not save
	}
	if t.failure.IsNew(err) {
		t.log.Warn("keys of session tickets are not shared with other copies of the program", zap.Error(err))
	}
	if !slices.Equal(before, t.keys) {
		for _, c := range t.configs {
			c.SetSessionTicketKeys(raw(t.keys))
		}
	}
}

// current returns the keys that are not too old, nor of the future, the newest first and each once.
func current(keys []ticketKey, now time.Time) []ticketKey {
	keys = slices.DeleteFunc(slices.Clone(keys), func(k ticketKey) bool {
		return now.Sub(k.Made) >= keyTime || k.Made.After(now.Add(ticketInterval))
	})
	slices.SortStableFunc(keys, func(a, b ticketKey) int { return b.Made.Compare(a.Made) })
	return slices.Compact(keys)
}

func raw(keys []ticketKey) [][32]byte {
	list := make([][32]byte, len(keys))
	for i := range keys {
		list[i] = keys[i].Key
	}
	return list
}

// load returns the keys in the file, if there is one.
func (t *Tickets) load() (keys []ticketKey, err error) {
	text, err := safefile.ReadSecret(t.file, 2*ticketFormat.Limit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	body, err := ticketFormat.Unseal(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.file, err)
	}
	if err := json.Unmarshal(body, &keys); err != nil {
		return nil, fmt.Errorf("%s: %w", t.file, err)
	}
	return keys, nil
}

// save replaces the file.
func (t *Tickets) save() error {
	if t.file == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(t.file), 0o700); err != nil {
		return err
	}
	body, _ := json.Marshal(t.keys) // it never fails
	return ticketFormat.Replace(t.file, body)
}
