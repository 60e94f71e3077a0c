package checksums

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"testing"
)

// TestSums reads digests of both algorithms.
func TestSums(t *testing.T) {
	t.Parallel()
	digest256, digest512 := sha256.Sum256([]byte("x")), sha512.Sum512([]byte("x"))
	for _, test := range []struct {
		digest                    []byte
		algorithm, suffix, base64 string
	}{
		{digest256[:], "sha-256", ".sha256", "LXEWQrcmsEQBYnyp+6wy9chTD7GQPMTbAiWHF5IaSIE="},
		{digest512[:], "sha-512", ".sha512",
			"pKvURIxJVi2CgRXROh/M6pJ/UrTVRZKX+LQ+QtqJI4vBNibkPcs43bCCSIkn7JBPtCBXRDmD6IWFF51QVRr+Yg=="},
	} {
		s, ok := ParseSum(hex.EncodeToString(test.digest))
		h := s.NewHash()
		h.Write([]byte("x"))
		if again, _ := NewSum(h.Sum(nil)); !ok || s.Algorithm() != test.algorithm || s.Suffix() != test.suffix || again != s {
			t.Errorf("%s: got %s, %s, and the hash is %s", test.algorithm, s.Algorithm(), s.Suffix(), again.String())
		}
		if got := string(s.AppendBase64(nil)); got != test.base64 || len(got) > MaxBase64 {
			t.Errorf("%s: in base64 it is %s", test.algorithm, got)
		}
	}
	for _, text := range []string{"", "a1", hexA[:63], hexA + "a1", "x" + hexA[1:], hexA + hexB + "zz"} {
		if _, ok := ParseSum(text); ok {
			t.Errorf("%q is taken for a digest", text)
		}
	}
}
