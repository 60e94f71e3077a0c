package source

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jedisct1/go-minisign"
)

// missingSignature is what to do where there is a list, and no signature.
const missingSignature = "mirrors_key is given, so that the list has to come with a signature: minisign -S -m mirrors.json, and publish both"

// publicKeys verify lists against minisign public keys, of which any one is enough: while a key is replaced, the old
// and the new one are both accepted.
type publicKeys struct {
	keys []minisign.PublicKey
	name string // of the source, for errors
}

// newPublicKeys reads minisign public keys, each the last line of its .pub file. It returns nil if there are none.
func newPublicKeys(texts []string, source string) (*publicKeys, error) {
	if len(texts) == 0 {
		return nil, nil
	}
	k := &publicKeys{name: source}
	for _, text := range texts {
		key, err := minisign.NewPublicKey(text)
		if err != nil {
			return nil, fmt.Errorf("mirrors_key: not a minisign public key, the last line of its .pub file: %q", text)
		}
		k.keys = append(k.keys, key)
	}
	return k, nil
}

// verify returns nil if one of the keys has signed the document, or what is wrong and what to do.
func (k *publicKeys) verify(d *document) error {
	if d.signature == nil {
		return fmt.Errorf("%s: %s", k.name, missingSignature)
	}
	signature, err := minisign.DecodeSignature(string(d.signature.data))
	if err != nil {
		return fmt.Errorf("%s%s: not a minisign signature: sign the list with minisign -S -m %s", k.name, signatureSuffix, k.name)
	}
	i := slices.IndexFunc(k.keys, func(key minisign.PublicKey) bool { return key.KeyId == signature.KeyId })
	if i < 0 {
		return fmt.Errorf("%s%s: made with the key %X, but mirrors_key is %s: sign the list with the right key, or give the new one in mirrors_key",
			k.name, signatureSuffix, reversed(signature.KeyId), k.ids())
	}
	if _, err := k.keys[i].Verify(d.list.data, signature); err != nil {
		return fmt.Errorf("%s: its signature %s%s is of other contents: sign the list again, and publish both", k.name, k.name,
			signatureSuffix)
	}
	return nil
}

// ids names the keys as minisign prints them.
func (k *publicKeys) ids() string {
	ids := make([]string, len(k.keys))
	for i, key := range k.keys {
		ids[i] = fmt.Sprintf("%X", reversed(key.KeyId))
	}
	return strings.Join(ids, " or ")
}

// signedAt returns when a document that passed verify says it was signed: minisign writes "timestamp:" and Unix seconds
// into the signed comment, unless another one is given. The result is zero if the time is not known.
func signedAt(d *document) time.Time {
	if d == nil || d.signature == nil {
		return time.Time{}
	}
	signature, err := minisign.DecodeSignature(string(d.signature.data))
	if err != nil {
		return time.Time{}
	}
	for field := range strings.FieldsSeq(signature.TrustedComment) {
		if text, ok := strings.CutPrefix(field, "timestamp:"); ok {
			if seconds, err := strconv.ParseInt(text, 10, 64); err == nil {
				return time.Unix(seconds, 0)
			}
		}
	}
	return time.Time{}
}

// outdated rejects replays of old lists: it returns an error if next was signed before inForce, or has no timestamp
// while inForce has one. If the signer's clock was fast, the time at which inForce was accepted is used, or no list
// could replace it until then.
func (k *publicKeys) outdated(inForce, next *document, accepted time.Time) error {
	before, after := signedAt(inForce), signedAt(next)
	if before.After(accepted) {
		before = accepted
	}
	show := func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 MST") }
	switch {
	case before.IsZero():
		return nil
	case after.IsZero():
		return fmt.Errorf("%s: its signature does not say when it was made, as that of the list in force does: sign it with minisign -S, without -t", k.name)
	case after.Before(before):
		return fmt.Errorf("%s: signed on %s, before the list in force, which is of %s: if this old list is meant, sign it again with minisign -S -m %s",
			k.name, show(after), show(before), k.name)
	}
	return nil
}

// reversed gives a key's id as minisign prints it, which takes it for a little-endian number.
func reversed(id [8]byte) []byte {
	b := make([]byte, 0, len(id))
	for i := len(id) - 1; i >= 0; i-- {
		b = append(b, id[i])
	}
	return b
}
