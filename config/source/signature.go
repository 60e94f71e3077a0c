package source

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jedisct1/go-minisign"
)

// missingSignature is what to do where there is a list, and no signature.
const missingSignature = "mirrors_key is given, so that the list has to come with a signature: minisign -S -m mirrors.json, and publish both"

// A publicKey tells whether a list was signed by who owns the secret one.
type publicKey struct {
	key  minisign.PublicKey
	name string // of the source, for errors
}

// newPublicKey reads a minisign public key: the last line of its .pub file.
func newPublicKey(text, source string) (*publicKey, error) {
	key, err := minisign.NewPublicKey(text)
	if err != nil {
		return nil, fmt.Errorf("mirrors_key: not a minisign public key, the last line of its .pub file: %q", text)
	}
	return &publicKey{key, source}, nil
}

// verify returns nil if the document is signed, or what is wrong and what to do.
func (k *publicKey) verify(d *document) error {
	signature, err := minisign.DecodeSignature(string(d.signature.data))
	switch {
	case err != nil:
		return fmt.Errorf("%s%s: not a minisign signature: sign the list with minisign -S -m %s", k.name, signatureSuffix, k.name)
	case signature.KeyId != k.key.KeyId:
		return fmt.Errorf("%s%s: made with the key %X, but mirrors_key is %X: sign the list with the right key, or give the new one in mirrors_key",
			k.name, signatureSuffix, reversed(signature.KeyId), reversed(k.key.KeyId))
	}
	if _, err := k.key.Verify(d.list.data, signature); err != nil {
		return fmt.Errorf("%s: its signature %s%s is of other contents: sign the list again, and publish both", k.name, k.name, signatureSuffix)
	}
	return nil
}

// signedAt returns when a document that passed verify says it was signed: minisign writes "timestamp:" and Unix seconds
// into the comment that it signs too, unless it is told to write another one. It is zero if that is not known.
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

// outdated returns an error if next was signed before the list in force, or does not say when although that one does: who
// can publish, and has no key, could bring back a list that was good once. A clock that was ahead when the list in force was
// signed counts for no more than when it was accepted, or nobody could sign the next one for as long.
func (k *publicKey) outdated(inForce, next *document, accepted time.Time) error {
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
