// Package tsig holds the keys that DNS messages are signed with (RFC 8945), and reads them from files in the syntax
// of BIND, as tsig-keygen writes it. It opens no socket, and never shows a secret: a key prints as its name.
package tsig

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"maps"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// Fudge is by how many seconds two clocks may differ, as RFC 8945 section 10 recommends.
const Fudge = 300

// minSecret is the least length of a secret, in bytes. That of a hash is better (RFC 2104 section 3), but older keys
// are this long.
const minSecret = 16

var hashes = map[string]func() hash.Hash{
	dns.HmacSHA256: sha256.New,
	dns.HmacSHA384: sha512.New384,
	dns.HmacSHA512: sha512.New,
}

// A Key is a secret that two servers share.
type Key struct {
	Name      string // lower case, absolute
	Algorithm string // one of hmac-sha256., hmac-sha384. and hmac-sha512.
	secret    []byte
}

// NewKey makes a key. The secret is as it is, not in base64.
func NewKey(name, algorithm string, secret []byte) (*Key, error) {
	k := &Key{Name: dns.CanonicalName(name), Algorithm: dns.CanonicalName(algorithm), secret: secret}
	switch _, valid := dns.IsDomainName(name); {
	case !valid || name == "":
		return nil, fmt.Errorf("want a DNS name for a key, got %q", name)
	case hashes[k.Algorithm] == nil:
		return nil, fmt.Errorf("want algorithm hmac-sha256, hmac-sha384 or hmac-sha512 for the key %q, got %q", name, algorithm)
	case len(secret) < minSecret:
		return nil, fmt.Errorf("want a secret of at least %d bytes for the key %q (tsig-keygen makes a good one)", minSecret, name)
	}
	return k, nil
}

// Format prints the key's name, whatever the verb: no way of printing a key shows its secret.
func (k *Key) Format(f fmt.State, _ rune) {
	if k == nil {
		fmt.Fprint(f, "no key")
		return
	}
	fmt.Fprintf(f, "key %s", k.Name)
}

// Sign makes the request m one that is signed when it is sent by a client that has the key's Keyring.
func (k *Key) Sign(m *dns.Msg, now time.Time) { m.SetTsig(k.Name, k.Algorithm, Fudge, now.Unix()) }

// Append signs a response in wire format, which has no signature yet, and returns it with one, and the MAC in it. It
// does what dns.TsigGenerateWithProvider does, without taking the message apart. previous is the MAC of the request,
// or of the message before of the same response, of which only the times are signed then (RFC 8945 sections 5.3 and
// 5.3.1).
func (k *Key) Append(wire []byte, previous string, timersOnly bool, now time.Time) (signed []byte, mac string, err error) {
	t := &dns.TSIG{
		Hdr:       dns.RR_Header{Name: k.Name, Rrtype: dns.TypeTSIG, Class: dns.ClassANY},
		Algorithm: k.Algorithm, TimeSigned: uint64(now.Unix()), Fudge: Fudge, OrigId: binary.BigEndian.Uint16(wire),
	}
	before, err := hex.DecodeString(previous)
	if err != nil {
		return nil, "", err
	}
	text := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(before)+len(wire)+600), uint16(len(before)))
	text = append(append(text, before...), wire...)
	if !timersOnly {
		for _, part := range []struct {
			name string
			rest []byte
		}{{k.Name, []byte{0, 255, 0, 0, 0, 0}}, {k.Algorithm, nil}} { // class ANY, TTL 0
			name := make([]byte, 256)
			end, err := dns.PackDomainName(part.name, name, 0, nil, false)
			if err != nil {
				return nil, "", err
			}
			text = append(append(text, name[:end]...), part.rest...)
		}
	}
	text = binary.BigEndian.AppendUint16(text, uint16(t.TimeSigned>>32))
	text = binary.BigEndian.AppendUint32(text, uint32(t.TimeSigned))
	text = binary.BigEndian.AppendUint16(text, t.Fudge)
	if !timersOnly {
		text = append(text, 0, 0, 0, 0) // no error, no other data
	}
	t.MAC = hex.EncodeToString(k.mac(text))
	t.MACSize = uint16(len(t.MAC) / 2)
	record := make([]byte, dns.Len(t))
	end, err := dns.PackRR(t, record, 0, nil, false)
	if err != nil {
		return nil, "", err
	}
	signed = append(wire, record[:end]...)
	binary.BigEndian.PutUint16(signed[10:], binary.BigEndian.Uint16(signed[10:])+1)
	return signed, t.MAC, nil
}

// Ring returns a ring with this key alone; an empty one if k is nil.
func (k *Key) Ring() *Ring {
	if k == nil {
		return newRing(nil)
	}
	return newRing(map[string]*Key{k.Name: k})
}

func (k *Key) mac(msg []byte) []byte {
	h := hmac.New(hashes[k.Algorithm], k.secret)
	h.Write(msg)
	return h.Sum(nil)
}

// A Ring is a set of keys. It implements dns.TsigProvider, and is safe for concurrent use.
type Ring struct {
	keys atomic.Pointer[map[string]*Key] // what it points to is not changed
}

func newRing(keys map[string]*Key) *Ring {
	r := &Ring{}
	r.keys.Store(&keys)
	return r
}

// Key returns the key of a name in lower case, or nil.
func (r *Ring) Key(name string) *Key { return (*r.keys.Load())[name] }

// Replace puts the keys of another ring in the place of r's, for all that use r.
func (r *Ring) Replace(with *Ring) { r.keys.Store(with.keys.Load()) }

// Same reports whether r and other hold the same keys with the same secrets.
func (r *Ring) Same(other *Ring) bool {
	return maps.EqualFunc(*r.keys.Load(), *other.keys.Load(), (*Key).Same)
}

// Same reports whether k and other are the same key. Either may be nil.
func (k *Key) Same(other *Key) bool {
	if k == nil || other == nil {
		return k == other
	}
	return k.Name == other.Name && k.Algorithm == other.Algorithm && bytes.Equal(k.secret, other.secret)
}

// find returns the key that a TSIG record names. One that is known, but with another algorithm, is another key.
func (r *Ring) find(t *dns.TSIG) (*Key, error) {
	k := r.Key(dns.CanonicalName(t.Hdr.Name))
	switch {
	case k == nil:
		return nil, dns.ErrSecret
	case k.Algorithm != dns.CanonicalName(t.Algorithm):
		return nil, dns.ErrKeyAlg
	}
	return k, nil
}

// Generate returns the signature of a message.
func (r *Ring) Generate(msg []byte, t *dns.TSIG) ([]byte, error) {
	k, err := r.find(t)
	if err != nil {
		return nil, err
	}
	return k.mac(msg), nil
}

// Verify returns nil if the signature in t is that of the message. It takes the same time wherever they differ.
func (r *Ring) Verify(msg []byte, t *dns.TSIG) error {
	k, err := r.find(t)
	if err != nil {
		return err
	}
	mac, err := hex.DecodeString(t.MAC)
	if err != nil || !hmac.Equal(mac, k.mac(msg)) {
		return dns.ErrSig
	}
	return nil
}

// ErrorCode is what a response says of a request whose verification has failed with err (RFC 8945 section 5.2).
func ErrorCode(err error) uint16 {
	switch {
	case errors.Is(err, dns.ErrTime):
		return dns.RcodeBadTime
	case errors.Is(err, dns.ErrSecret), errors.Is(err, dns.ErrKeyAlg):
		return dns.RcodeBadKey
	default:
		return dns.RcodeBadSig
	}
}

// Refuse makes resp, a reply to a request with the record asked, say why the request's signature was not accepted.
// It leaves unsigned what RFC 8945 section 5.3.2 wants unsigned, and gives our time to a client with another one.
func Refuse(resp *dns.Msg, asked *dns.TSIG, code uint16, now time.Time) {
	resp.Rcode = dns.RcodeNotAuth
	resp.SetTsig(asked.Hdr.Name, asked.Algorithm, Fudge, now.Unix())
	t := resp.IsTsig()
	t.Error = code
	if code == dns.RcodeBadTime {
		t.TimeSigned = asked.TimeSigned
		t.OtherLen, t.OtherData = 6, fmt.Sprintf("%012x", now.Unix())
	}
}

// Explain says what is wrong with the signatures of an exchange, to the person who can mend it. request was signed
// with k; nil if it was not. err is that of the exchange; resp may be nil. The result is nil if all is well.
func Explain(k *Key, resp *dns.Msg, err error, now time.Time) error {
	if resp == nil {
		return err
	}
	t := resp.IsTsig()
	switch {
	case t != nil && t.Error == dns.RcodeBadTime:
		return fmt.Errorf("NOTAUTH, BADTIME: %s: set the clocks", skew(t, now))
	case t != nil && t.Error == dns.RcodeBadKey:
		return fmt.Errorf("NOTAUTH, BADKEY: the server does not have our %v, or has it with another algorithm", k)
	case t != nil && t.Error == dns.RcodeBadSig:
		return fmt.Errorf("NOTAUTH, BADSIG: the server has another secret for our %v", k)
	case errors.Is(err, dns.ErrTime):
		return fmt.Errorf("the response was signed at another time than ours, %v: set the clocks", now.UTC().Format(time.RFC3339))
	case errors.Is(err, dns.ErrSig), errors.Is(err, dns.ErrSecret), errors.Is(err, dns.ErrKeyAlg):
		return fmt.Errorf("the response is not signed with our %v: the server may have another secret for it", k)
	case err != nil && !errors.Is(err, dns.ErrAuth):
		return err
	case k != nil && t == nil:
		return fmt.Errorf("%s, without a signature: the server may not know our %v, or its clock may differ from ours",
			dns.RcodeToString[resp.Rcode], k)
	}
	return nil
}

// skew says by how much the clock of a server that answered BADTIME differs from ours.
func skew(t *dns.TSIG, now time.Time) string {
	var theirs int64
	if _, err := fmt.Sscanf(t.OtherData, "%x", &theirs); err != nil || t.OtherLen != 6 {
		return "the server's clock differs from ours by more than the " + (Fudge * time.Second).String() + " allowed"
	}
	ahead := time.Duration(theirs-now.Unix()) * time.Second
	side := "ahead of"
	if ahead < 0 {
		ahead, side = -ahead, "behind"
	}
	return fmt.Sprintf("the server's clock is %v %s ours", ahead, side)
}
