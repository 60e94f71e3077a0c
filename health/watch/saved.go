package watch

import (
	"encoding/json"
	"errors"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config/statefile"
	"mirrorpool/health"
)

// jointFormat is that of the file with joint verdicts.
var jointFormat = statefile.Format{Kind: "mirrorpool-joint-verdicts", Version: 1, Limit: 64 << 20}

// A savedJoint is a joint verdict as the file has it.
type savedJoint struct {
	Address netip.Addr   `json:"address,omitzero"`
	Role    health.Role  `json:"role"`
	State   health.State `json:"state"`
	Since   time.Time    `json:"since"`
	At      time.Time    `json:"at"`
	Reason  string       `json:"reason,omitempty"`
	Share   float64      `json:"share"`
	Passed  time.Time    `json:"passed,omitzero"`
	Ballots []ballot     `json:"ballots"`
	Decided health.State `json:"decided"`
	Changes []time.Time  `json:"changes,omitempty"`
	Calm    time.Time    `json:"calm,omitzero"`
}

// encode returns the verdicts as decode reads them.
func (j jointVerdicts) encode() ([]byte, error) {
	saved := make(map[string][]savedJoint, len(j))
	for prefix, places := range j {
		for p, v := range places {
			saved[prefix] = append(saved[prefix], savedJoint{
				p.address, p.role, v.state, v.since, v.at, v.reason, v.share, v.passed, v.ballots, v.decided, v.changes, v.calm,
			})
		}
	}
	return json.Marshal(saved)
}

func decodeJoints(text []byte) (jointVerdicts, error) {
	var saved map[string][]savedJoint
	if err := json.Unmarshal(text, &saved); err != nil {
		return nil, err
	}
	j := jointVerdicts{}
	for prefix, places := range saved {
		j[prefix] = make(map[place]joint, len(places))
		for _, s := range places {
			if s.State == health.Unknown || s.Decided == health.Unknown {
				return nil, errors.New("a joint verdict is no verdict")
			}
			j[prefix][place{s.Address, s.Role}] = joint{
				s.State, s.Since, s.At, s.Reason, s.Share, s.Passed, s.Ballots, s.Decided, s.Changes, s.Calm,
			}
		}
	}
	return j, nil
}

// SaveState saves the joint verdicts.
func (g *Group) SaveState(path string) {
	g.mu.Lock()
	body, err := g.joints.encode()
	g.mu.Unlock()
	if err == nil {
		err = jointFormat.Replace(path, body)
	}
	if err != nil {
		g.o.Log.Warn("cannot save what was decided with other watchers", zap.Error(err))
	}
}

// LoadState makes the joint verdicts those that an earlier run has saved, for as long as they are young. It is called
// before Run and Apply.
func (g *Group) LoadState(path string) {
	err := jointFormat.Load(path, func(body []byte) error {
		joints, err := decodeJoints(body)
		if err == nil {
			g.joints = joints
		}
		return err
	})
	if err != nil {
		g.o.Log.Warn("what was decided with other watchers is lost", zap.Error(err))
	}
}
