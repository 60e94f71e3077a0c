package dnssec

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// A Status is what an administrator wants to know of the zone's signatures.
type Status struct {
	Zone    string       `json:"zone"` // without its final dot
	Keys    []KeyStatus  `json:"keys"`
	DS      []string     `json:"ds"`                    // the records that the parent is to have
	Expires time.Time    `json:"first_expiry,omitzero"` // see HoldsUntil
	Made    uint64       `json:"signatures_made"`
	Parent  ParentStatus `json:"parent"`
	Next    string       `json:"next"`             // what a rollover waits for; "" if there is none
	Leader  string       `json:"leader,omitempty"` // the server that leads rollovers, if it is another one
	// KeyFiles is why key files could not be read or written, so that the keys before sign on; "" if they could.
	KeyFiles string `json:"key_files_problem,omitempty"`
	// KeysEnd is when the zone cannot be signed any more, as the times of its keys have it; zero if that is not planned.
	KeysEnd time.Time `json:"keys_end,omitzero"`
	// Ending says so, and why, if that is soon.
	Ending string `json:"keys_ending,omitempty"`
	// Signing is why the zone cannot be signed, so that the last signed version serves on; "" if it can.
	Signing string `json:"signing_problem,omitempty"`
}

// A KeyStatus is one key.
type KeyStatus struct {
	Tag       uint16    `json:"tag"`
	Algorithm string    `json:"algorithm"`
	Flags     uint16    `json:"flags"`
	State     State     `json:"state"`
	Created   time.Time `json:"created,omitzero"`
	DS        bool      `json:"ds"`         // the parent has a DS record of it that validators use
	SignsKeys bool      `json:"signs_keys"` // the DNSKEY records have a signature of it
}

// A ParentStatus is what the parent has, as far as that is known.
type ParentStatus struct {
	Seen    time.Time `json:"seen,omitzero"` // when it was asked; zero: never
	DS      []string  `json:"ds"`
	Problem string    `json:"problem,omitempty"`
}

// soon is how long before the first signature expires that is trouble: it should have been made anew days before.
const soon = 12 * time.Hour

// Trouble is why validators refuse the zone, or will, or what keeps a rollover from going on, or "".
func (s *Status) Trouble(now time.Time) string {
	switch why := cmp.Or(s.Signing, "see the log."); {
	case s.Expires.IsZero():
		return "No signature of the zone could be made: " + why
	case s.Expires.Before(now):
		return fmt.Sprintf("The zone's signatures are not made anew, and the first expired at %s: %s", s.Expires.UTC().Format(time.RFC3339), why)
	case s.Ending != "":
		return "The zone's keys end soon: " + s.Ending
	case s.Expires.Before(now.Add(soon)):
		return fmt.Sprintf("The zone's signatures are not made anew, and the first expires at %s: %s", s.Expires.UTC().Format(time.RFC3339), why)
	case s.Signing != "":
		return "The zone cannot be signed; validators get the last signed version until its signatures expire: " + s.Signing
	case len(s.Parent.DS) > 0 && !s.trusted():
		return otherKeysTrouble
	case s.KeyFiles != "":
		return "The zone's keys cannot be read or kept; those before sign on: " + s.KeyFiles
	}
	return ""
}

// What is said of a parent whose DS records name other keys: where to look, and there.
const (
	otherKeysTrouble = "The parent's DS records name no key that signs the zone's DNSKEY records, so that validators refuse it: see mirrorpool dnssec status."
	otherKeysProblem = "the parent's DS records name no key that signs the zone's DNSKEY records: validators refuse it"
)

// Problems are all that is wrong, each once.
func (s *Status) Problems(now time.Time) (problems []string) {
	trouble := s.Trouble(now)
	if trouble == otherKeysTrouble && s.Parent.Problem == otherKeysProblem {
		trouble = ""
	}
	for _, problem := range []string{trouble, s.Signing, s.Ending, s.Parent.Problem, s.KeyFiles} {
		if problem != "" && (problem == trouble || !strings.Contains(trouble, problem)) {
			problems = append(problems, problem)
		}
	}
	return problems
}

// trusted reports whether the parent has a DS record of a key that signs the zone's keys here. Another server's does
// not.
func (s *Status) trusted() bool {
	return slices.ContainsFunc(s.Keys, func(k KeyStatus) bool { return k.DS && k.SignsKeys })
}

// Describe returns what is to be said of keys now. seen is what the parent has, nil if that is not known because of
// problem.
func (k *Keys) Describe(now time.Time, seen *View, problem string) Status {
	s := Status{Zone: k.Zone[:len(k.Zone)-1], Leader: k.leader, DS: []string{}, Parent: ParentStatus{DS: []string{}, Problem: problem}}
	r, err := k.at(now)
	withdraws := k.withdraws(now)
	for _, key := range k.All {
		signs := key.SEP() && key.ours() && key.Times.published(now) // where the zone cannot be signed, its last version serves on
		if err == nil {
			signs = r.signsKeys(key, now)
		}
		s.Keys = append(s.Keys, KeyStatus{key.Tag, dns.AlgorithmToString[key.Record.Algorithm], key.Record.Flags, key.Times.At(now),
			key.Times.Created, seen != nil && seen.isAnchor(key), signs})
		if !withdraws && key.SEP() && key.Times.published(now) && (key.Times.synced(now) || key.Times.SyncPublish.IsZero() && key.Times.At(now) == Active) {
			s.DS = append(s.DS, dsText(key.DS()))
		}
	}
	if seen != nil {
		s.Parent.Seen = seen.At
		for _, ds := range seen.DS {
			s.Parent.DS = append(s.Parent.DS, dsText(ds))
		}
		if len(seen.DS) > 0 && !s.trusted() && problem == "" {
			s.Parent.Problem = otherKeysProblem
		} else if problem == "" {
			s.Parent.Problem = cmp.Or(s.unsignedAlgorithm(seen), seen.ignored(k.All))
		}
	}
	s.KeysEnd, _ = k.End(now)
	s.Ending = k.EndsSoon(now)
	s.Next = k.next(now, seen)
	if next, _ := k.rolling(now); next != nil && problem != "" {
		s.Next += "; no step comes while the parent's DS records cannot be seen"
	}
	return s
}

// unsignedAlgorithm says which DS record is of an algorithm that does not sign the DNSKEY records, or is "".
func (s *Status) unsignedAlgorithm(seen *View) string {
	for _, ds := range seen.DS {
		name := dns.AlgorithmToString[ds.Algorithm]
		if !slices.ContainsFunc(s.Keys, func(k KeyStatus) bool { return k.SignsKeys && k.Algorithm == name }) {
			return fmt.Sprintf("the parent has a DS record of the key %d, and no key of its algorithm %s signs the DNSKEY records: some validators "+
				"refuse the zone (RFC 4035 section 2.2); have the record removed", ds.KeyTag, cmp.Or(name, fmt.Sprint(ds.Algorithm)))
		}
	}
	return ""
}

func dsText(ds *dns.DS) string {
	return fmt.Sprintf("%s IN DS %d %d %d %s", ds.Hdr.Name, ds.KeyTag, ds.Algorithm, ds.DigestType, ds.Digest)
}

// next is what a rollover waits for.
func (k *Keys) next(now time.Time, seen *View) string {
	until := func(what string, at time.Time) string { return what + " at " + at.UTC().Format(time.RFC3339) }
	if err := seen.checkClock(now); err != nil {
		return err.Error()
	}
	if k.withdraws(now) {
		switch {
		case seen == nil || len(seen.DS) > 0:
			return "the parent is to remove its DS records"
		case now.Before(seen.CachedUntil):
			return until("dns.dnssec can be taken out of the configuration, as caches may have the parent's DS records until then,", seen.CachedUntil)
		default:
			return "dns.dnssec can be taken out of the configuration: the parent has no DS record any more"
		}
	}
	next, old := k.rolling(now)
	if next == nil {
		for _, key := range k.All {
			if seen != nil && seen.has(key) && key.Times.At(now) == Removed {
				return fmt.Sprintf("the parent is to remove the DS record of the key %d", key.Tag)
			}
		}
		return k.nextOfOffline(now, seen)
	}
	if next.aborted() {
		return nextOfAborted(next, now, seen)
	}
	switch t, o := next.Times, old.Times; {
	case !passed(t.Publish, now):
		return until(fmt.Sprintf("the key %d is published", next.Tag), t.Publish)
	case !passed(t.SyncPublish, now):
		return until(fmt.Sprintf("the parent is asked for a DS record of the key %d", next.Tag), t.SyncPublish)
	case seen == nil || !seen.anchors(next):
		return fmt.Sprintf("the parent is to have a DS record of the key %d beside that of %d", next.Tag, old.Tag)
	case t.Activate.IsZero():
		return "the parent's DS record has been seen"
	case !passed(t.Activate, now):
		return until(fmt.Sprintf("the key %d signs", next.Tag), t.Activate)
	case !passed(o.SyncDelete, now):
		return until(fmt.Sprintf("the parent is asked to remove the DS record of the key %d", old.Tag), o.SyncDelete)
	case o.Delete.IsZero():
		return fmt.Sprintf("the parent is to remove the DS record of the key %d", old.Tag)
	case !passed(o.Delete, now):
		return until(fmt.Sprintf("the key %d is removed", old.Tag), o.Delete)
	default:
		return until(fmt.Sprintf("the key %d signs no more", old.Tag), o.Inactive)
	}
}

// nextOfOffline asks for a DS record of a key that is elsewhere, where the sets that it has signed do not.
func (k *Keys) nextOfOffline(now time.Time, seen *View) string {
	offline := k.offline()
	if offline == nil || seen != nil && seen.anchors(offline) {
		return ""
	}
	if ahead := k.signedAt(now); len(ahead[dns.TypeCDS]) > 0 && len(ahead[dns.TypeCDNSKEY]) > 0 {
		return ""
	}
	return fmt.Sprintf("the key %d has not signed both CDS and CDNSKEY records, which ask the parent for its DS record: give the parent what "+
		"mirrorpool dnssec ds prints, or sign them", offline.Tag)
}
