package checksums

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"hash"
)

// A Sum is the SHA-256 or SHA-512 checksum of a file. Sums can be compared with ==.
type Sum struct {
	size   uint8 // bytes of digest
	digest [sha512.Size]byte
}

// NewSum returns a digest as a Sum. ok is false for a digest of another length than those of SHA-256 and SHA-512.
func NewSum(digest []byte) (s Sum, ok bool) {
	if len(digest) != sha256.Size && len(digest) != sha512.Size {
		return s, false
	}
	s.size = uint8(len(digest))
	copy(s.digest[:], digest)
	return s, true
}

// ParseSum returns a digest in hexadecimal digits as a Sum, with ok as that of [NewSum].
func ParseSum(text string) (s Sum, ok bool) {
	digest, err := hex.DecodeString(text)
	if err != nil {
		return s, false
	}
	return NewSum(digest)
}

// The names of algorithms in the registry of RFC 9530. Metalinks (RFC 5854) use the same ones.
const (
	SHA256 = "sha-256"
	SHA512 = "sha-512"
)

// MaxBase64 is how many bytes a digest takes in base64 at most.
const MaxBase64 = (sha512.Size + 2) / 3 * 4

// Algorithm returns the name of the algorithm, [SHA256] or [SHA512].
func (s *Sum) Algorithm() string {
	if s.size == sha512.Size {
		return SHA512
	}
	return SHA256
}

// Suffix returns the suffix of a file with such a checksum: ".sha256" or ".sha512".
func (s *Sum) Suffix() string {
	if s.size == sha512.Size {
		return ".sha512"
	}
	return ".sha256"
}

// String returns the digest in hexadecimal digits.
func (s *Sum) String() string { return hex.EncodeToString(s.digest[:s.size]) }

// AppendBase64 appends the digest in base64.
func (s *Sum) AppendBase64(text []byte) []byte {
	return base64.StdEncoding.AppendEncode(text, s.digest[:s.size])
}

// NewHash returns the hash that a file is checked with.
func (s *Sum) NewHash() hash.Hash {
	if s.size == sha512.Size {
		return sha512.New()
	}
	return sha256.New()
}
