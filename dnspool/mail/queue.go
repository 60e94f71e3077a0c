package mail

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config/statefile"
)

const (
	maxQueue   = 1000               // mails that wait; the oldest are dropped
	maxWait    = 7 * 24 * time.Hour // after which a mail is dropped
	firstPause = time.Minute        // after the first failure to send
	maxPause   = time.Hour
)

// format is that of the saved state.
var format = statefile.Format{Kind: "mirrorpool-mail", Version: 1, Limit: 64 << 20}

// A state is what was sent, and what waits to be sent.
type state struct {
	Memory memory    `json:"memory"`
	Queue  []Message `json:"queue"`
}

// bound drops the mails that have waited too long, or are too many.
func (s *state) bound(now time.Time) (dropped int) {
	all := len(s.Queue)
	for len(s.Queue) > 0 && (len(s.Queue) > maxQueue || now.Sub(s.Queue[0].Planned) > maxWait) {
		s.Queue = s.Queue[1:]
	}
	return all - len(s.Queue)
}

// pause is how long to wait after so many failures in a row.
func pause(failures int) time.Duration {
	d := firstPause
	for range failures - 1 {
		if d *= 2; d >= maxPause {
			return maxPause
		}
	}
	return d
}

// withoutOperators makes a mail that the server rejects one to the team alone. ok is false if it was that already.
func (m *Message) withoutOperators(team string, why error) (Message, bool) {
	if m.To == team || m.Cc == "" {
		return Message{}, false
	}
	other := *m
	other.To, other.Cc = team, ""
	other.Text = fmt.Sprintf("This mail could not be sent to %s: %v.\n\n%s", m.To, why, m.Text)
	return other, true
}

// load reads the saved state, if there is one.
func load(path string, log *zap.Logger) state {
	s := state{Memory: newMemory()}
	if path == "" {
		return s
	}
	err := format.Load(path, func(body []byte) error {
		saved := state{Memory: newMemory()}
		if err := json.Unmarshal(body, &saved); err != nil {
			return err
		}
		if saved.Memory.Threads == nil || saved.Memory.Began == nil || saved.Memory.Certs == nil || len(saved.Queue) > maxQueue {
			return errors.New("it makes no sense")
		}
		s = saved
		return nil
	})
	if err != nil {
		log.Warn("cannot restore the saved state of mail: what was sent may be sent again", zap.Error(err))
	}
	return s
}

// save writes the state to path, if there is one.
func (s *state) save(path string) error {
	if path == "" {
		return nil
	}
	body, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return format.Replace(path, body)
}
