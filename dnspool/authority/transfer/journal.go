package transfer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/zap"

	"mirrorpool/config/failure"
	"mirrorpool/config/statefile"
)

const (
	serialName  = "serial"         // in the state folder: the latest serial
	versionName = "zone-version"   // in the state folder of a server that has stopped: the latest version
	journalName = "journal"        // in the state folder: the latest history
	saveTime    = 1 * time.Second  // between two writes
	saveRetry   = 60 * time.Second // after a write that failed

	// maxUnsaved is how many versions a server may have made since the latest that it has saved. There are at most 50 in
	// saveTime, which is when there is one for each look at what has changed.
	maxUnsaved = 100
)

// stateFormat is the format of a file in the state folder.
func stateFormat(name string) statefile.Format {
	return statefile.Format{Kind: "mirrorpool-" + name, Version: 1, Limit: 256 << 20}
}

// A savedHistory is a history in JSON. Records are in wire format, one behind the other.
type savedHistory struct {
	Zone    string       `json:"zone"`
	SOA     []byte       `json:"soa"`
	Records []byte       `json:"records"`
	Content uint64       `json:"content,omitempty"`
	Others  []string     `json:"others,omitempty"`
	Shared  []string     `json:"shared,omitempty"`
	Known   []string     `json:"known,omitempty"` // the other servers when it was saved
	Deltas  []savedDelta `json:"deltas"`
}

type savedDelta struct {
	From    []byte   `json:"from"`
	To      []byte   `json:"to"`
	Removed []byte   `json:"removed"`
	Added   []byte   `json:"added"`
	Content uint64   `json:"content,omitempty"`
	Others  []string `json:"others,omitempty"`
	Shared  []string `json:"shared,omitempty"`
}

// encodeHistory is a history as decodeHistory reads it.
func encodeHistory(h *history) ([]byte, error) {
	saved := savedHistory{Zone: h.soa.Hdr.Name, SOA: wireOfSOA(h.soa), Records: wireOf(h.records), Content: h.content,
		Others: h.others, Shared: h.shared, Known: h.known}
	for _, d := range h.deltas {
		saved.Deltas = append(saved.Deltas, savedDelta{wireOfSOA(d.from), wireOfSOA(d.to), wireOf(d.removed), wireOf(d.added),
			d.content, d.others, d.shared})
	}
	return json.Marshal(saved)
}

func wireOfSOA(soa *dns.SOA) []byte { return wireOf(Sort([]dns.RR{soa})) }

func wireOf(records []record) []byte {
	var packed bytes.Buffer
	for _, r := range records {
		packed.WriteString(r.key)
	}
	return packed.Bytes()
}

// decodeHistory reads what encodeHistory wrote for a zone.
func decodeHistory(body []byte, origin string) (*history, error) {
	var saved savedHistory
	if err := json.Unmarshal(body, &saved); err != nil {
		return nil, err
	}
	if saved.Zone != origin {
		return nil, fmt.Errorf("it is of the zone %s", saved.Zone)
	}
	var d decoder
	h := &history{version: version{soa: d.soa(saved.SOA), records: d.records(saved.Records),
		identity: identity{saved.Content, saved.Others, saved.Shared}}, known: saved.Known}
	for _, s := range saved.Deltas {
		h.deltas = append(h.deltas, delta{d.soa(s.From), d.soa(s.To), d.records(s.Removed), d.records(s.Added),
			identity{s.Content, s.Others, s.Shared}})
	}
	if d.err != nil {
		return nil, d.err
	}
	if h.soa.Hdr.Name != origin {
		return nil, fmt.Errorf("its SOA record is of %s", h.soa.Hdr.Name)
	}
	for i, d := range h.deltas {
		next := h.soa
		if i+1 < len(h.deltas) {
			next = h.deltas[i+1].from
		}
		if d.to.Serial != next.Serial {
			return nil, errors.New("its versions do not follow each other")
		}
	}
	return h, nil
}

// A decoder reads records in wire format, and remembers what went wrong first.
type decoder struct{ err error }

func (d *decoder) records(packed []byte) []record {
	var rrs []dns.RR
	for at := 0; at < len(packed) && d.err == nil; {
		var rr dns.RR
		if rr, at, d.err = dns.UnpackRR(packed, at); d.err == nil {
			rrs = append(rrs, rr)
		}
	}
	return Sort(rrs)
}

func (d *decoder) soa(packed []byte) *dns.SOA {
	if records := d.records(packed); len(records) == 1 {
		if soa, ok := records[0].rr.(*dns.SOA); ok {
			return soa
		}
	}
	if d.err == nil {
		d.err = errors.New("want an SOA record")
	}
	return new(dns.SOA)
}

// TakeVersion returns the latest version of the zone that a server with the state folder dir has had, for
// dnspool.Input. Its content is known only once after each stop: a server that crashes may have served versions that it
// has not saved, and the next one must not go back behind them. Their serials may be ahead of the clock.
func TakeVersion(dir string, log *zap.Logger) ZoneVersion {
	var saved ZoneVersion
	loadState(dir, versionName, log, func(body []byte) error { return json.Unmarshal(body, &saved) })
	if err := os.Remove(filepath.Join(dir, versionName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Warn("saved state cannot be removed: the zone gets a new serial", zap.Error(err))
		saved = ZoneVersion{}
	}
	serial := loadSerial(dir, log)
	switch {
	case serial == 0:
		return ZoneVersion{}
	case saved.Serial == serial:
		return saved
	}
	return ZoneVersion{Serial: max(serial+maxUnsaved, 1)} // 0 would be none
}

// SaveVersion keeps the latest version for the next start. It is called once Run has ended, and no other version comes.
func (s *Server) SaveVersion() {
	if s == nil || s.dir == "" {
		return
	}
	latest := s.latest.Load()
	if latest == nil || loadSerial(s.dir, s.log) != latest.Serial {
		return
	}
	body, err := json.Marshal(latest)
	if err == nil {
		err = saveState(s.dir, versionName, body)
	}
	if err != nil {
		s.log.Warn("the zone's state cannot be saved", zap.String("folder", s.dir), zap.Error(err))
	}
}

// loadSerial returns the latest serial that a server with the state folder dir has had; 0 if there is none. A file that
// cannot be used is logged and set aside: without it, the clock gives the serial.
func loadSerial(dir string, log *zap.Logger) uint32 {
	var serial uint64
	loadState(dir, serialName, log, func(body []byte) (err error) {
		serial, err = strconv.ParseUint(strings.TrimSpace(string(body)), 10, 32)
		return err
	})
	return uint32(serial)
}

// loadState has use read the body of a file in the state folder, if there is one. One that cannot be used is logged
// and set aside.
func loadState(dir, name string, log *zap.Logger, use func(body []byte) error) {
	if err := stateFormat(name).Load(filepath.Join(dir, name), use); err != nil {
		log.Warn("saved state cannot be used", zap.Error(err))
	}
}

// saveState replaces a file in the state folder.
func saveState(dir, name string, body []byte) error {
	return stateFormat(name).Replace(filepath.Join(dir, name), body)
}

// loadHistory returns the history that is kept for a zone, or nil.
func loadHistory(dir, origin string, log *zap.Logger) (h *history) {
	loadState(dir, journalName, log, func(body []byte) (err error) {
		h, err = decodeHistory(body, origin)
		return err
	})
	return h
}

// Run saves the serial, and the history if there is one, after each change, until ctx ends, and then once more. It
// never makes an answer wait for the disk. What fails is logged, once until it changes.
func (s *Server) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	var failing failure.Last
	for {
		select {
		case <-s.changed:
		case <-timer.C:
		case <-ctx.Done():
			s.save()
			return
		}
		err := s.save()
		if failing.IsNew(err) {
			s.log.Warn("the zone's state cannot be saved", zap.String("folder", s.dir), zap.Error(err))
		}
		if err != nil {
			timer.Reset(saveRetry) // even if nothing changes
		}
		select {
		case <-time.After(saveTime):
		case <-ctx.Done():
		}
	}
}

// save writes what there is, unless another copy of the program, that takes over from this one, has gone ahead. The
// two do not wait for each other: for the moment between looking and writing, that is not certain.
func (s *Server) save() error {
	latest := s.latest.Load()
	if s.dir == "" || latest == nil {
		return nil
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	if saved := loadSerial(s.dir, s.log); saved != 0 && int32(saved-latest.Serial) > 0 {
		return nil
	}
	if err := saveState(s.dir, serialName, fmt.Appendln(nil, latest.Serial)); err != nil {
		return err
	}
	h := s.history.Load()
	if h == nil {
		return nil
	}
	body, err := encodeHistory(h)
	if err != nil {
		return err
	}
	return saveState(s.dir, journalName, body)
}
