package mail

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/config/statefile"
)

const (
	maxQueue   = 1000               // mails that wait; the oldest are dropped
	maxWait    = 7 * 24 * time.Hour // after which a mail is dropped
	firstPause = time.Minute        // after the first failure to send
	maxPause   = time.Hour
	maxRefusal = 24 * time.Hour // after which the team gets a mail that the server does not take for a mirror's operators
)

// format is that of the saved state.
var format = statefile.Format{Kind: "mirrorpool-mail", Version: 1, Limit: 64 << 20}

// A state is what was sent, and what waits to be sent.
type state struct {
	Memory memory    `json:"memory"`
	Queue  []waiting `json:"queue"`
}

// A waiting is a mail that waits to be sent.
type waiting struct {
	Message
	Failures int       `json:"failures,omitzero"`
	Failed   time.Time `json:"failed,omitzero"` // since when it, or one that holds it up, could not be sent
	Retry    time.Time `json:"retry,omitzero"`  // when to try again
}

// add queues mails.
func (s *state) add(messages []Message) {
	for _, m := range messages {
		s.Queue = append(s.Queue, waiting{Message: m})
	}
}

// due returns the place of the first mail that may be sent at now; -1 for none. Mails to the operators of a mirror do
// not overtake each other.
func (s *state) due(now time.Time) int {
	held := map[string]bool{} // by url_prefix
	return slices.IndexFunc(s.Queue, func(w waiting) bool {
		toOperators := w.Cc != ""
		if now.Before(w.Retry) {
			held[w.Mirror] = held[w.Mirror] || toOperators
			return false
		}
		return !toOperators || !held[w.Mirror]
	})
}

// settle takes in how it went to send the mail at k, as it was addressed: err is nil if it was sent.
func (s *state) settle(k int, sent *Message, team string, err error, now time.Time) {
	w := &s.Queue[k]
	if err == nil {
		s.Queue = slices.Delete(s.Queue, k, k+1)
		return
	}
	scope := scopeOf(err)
	if scope == allMails {
		return
	}
	s.fail(k, now)
	note := fmt.Sprintf("This mail could not be sent to %s: %v.", sent.To, err)
	switch {
	case scope == copyOnly:
		w.Message = sent.toTeamAlone(team, fmt.Sprintf("This is the copy of a mail to %s.", sent.To))
	case sent.To != team && sent.Cc != "" && (scope == forGood || now.Sub(w.Failed) >= maxRefusal):
		*w = waiting{Message: sent.toTeamAlone(team, note)}
	case scope == forGood:
		s.Queue = slices.Delete(s.Queue, k, k+1)
	}
}

// fail takes in that the mail at k could not be sent. Those that it holds up have been refused for as long.
func (s *state) fail(k int, now time.Time) {
	w := &s.Queue[k]
	w.Failures++
	w.Retry = now.Add(pause(w.Failures))
	if w.Failed.IsZero() {
		w.Failed = now
	}
	for i := range s.Queue[k+1:] {
		if behind := &s.Queue[k+1+i]; w.Cc != "" && behind.Cc != "" && behind.Mirror == w.Mirror {
			behind.Failed = w.Failed
		}
	}
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

// address returns a mail with the recipients that it has by the configuration and the list as they are now, which may
// have changed since it was planned. The team gets what is no longer sent to operators.
func (m *Message) address(c *config.Mail, v *View) Message {
	other := *m
	if m.Cc == "" {
		other.To = c.Team
		return other
	}
	k := slices.IndexFunc(v.Mirrors, func(about Mirror) bool { return about.URLPrefix == m.Mirror })
	var why string
	switch {
	case !c.Operators:
		why = "mail.operators is false"
	case k < 0:
		why = "the mirror is no longer in the list, or disabled"
	case v.Mirrors[k].Drained:
		why = "the mirror is drained"
	case v.Mirrors[k].Email == "":
		why = "the list has no address for the mirror any more"
	default:
		other.To, other.Cc = v.Mirrors[k].Email, c.Team
		return other
	}
	return m.toTeamAlone(c.Team, fmt.Sprintf("This mail was not sent to %s: %s.", m.To, why))
}

// toTeamAlone makes of a mail to operators one to the team, which says so first.
func (m *Message) toTeamAlone(team, note string) Message {
	other := *m
	other.To, other.Cc = team, ""
	other.Text = note + "\n\n" + m.Text
	return other
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
		if saved.Memory.Threads == nil || saved.Memory.Ended == nil || saved.Memory.Began == nil || saved.Memory.Certs == nil || len(saved.Queue) > maxQueue {
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
