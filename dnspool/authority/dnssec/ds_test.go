package dnssec

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestDigests has a rollover go on only once validators use the new key's DS record: they ignore weak digests.
func TestDigests(t *testing.T) {
	t.Parallel()
	k, view := rolledKeys(t, "")
	view.At = testNow.Add(6 * time.Hour)
	old, next := k.All[0], k.All[1]
	ds := func(k *Key, digest uint8) *dns.DS { return k.Record.ToDS(digest) }
	for name, test := range map[string]struct {
		ds      []*dns.DS
		goesOn  bool
		ignored *Key
		trouble bool
	}{
		"SHA-256":                  {[]*dns.DS{ds(old, 2), ds(next, 2)}, true, nil, false},
		"SHA-384":                  {[]*dns.DS{ds(old, 4), ds(next, 4)}, true, nil, false},
		"SHA-1":                    {[]*dns.DS{ds(old, 2), ds(next, 1)}, false, next, false},
		"SHA-1 and SHA-256":        {[]*dns.DS{ds(old, 2), ds(next, 1), ds(next, 2)}, true, nil, false},
		"SHA-256 beside SHA-384":   {[]*dns.DS{ds(old, 4), ds(next, 2)}, false, next, false},
		"all SHA-1":                {[]*dns.DS{ds(old, 1), ds(next, 1)}, false, old, false},
		"the old one SHA-1":        {[]*dns.DS{ds(old, 1), ds(next, 2)}, true, old, false},
		"an unknown one":           {[]*dns.DS{ds(old, 2), {KeyTag: next.Tag, Algorithm: 13, DigestType: 3, Digest: "00"}}, false, nil, false},
		"SHA-1 beside another key": {[]*dns.DS{ds(old, 1), {KeyTag: 1, Algorithm: 13, DigestType: 2, Digest: "00"}}, false, nil, true},
	} {
		view.DS = test.ds
		if got := k.Advance(view, time.Hour) != k; got != test.goesOn {
			t.Errorf("%s: it goes on: %v", name, got)
		}
		status := k.Describe(view.At, view, "")
		if status.Expires = view.At.AddDate(0, 0, 7); (status.Trouble(view.At) == otherKeysTrouble) != test.trouble {
			t.Errorf("%s: %s", name, status.Trouble(view.At))
		}
		want := ""
		if test.ignored != nil {
			want = fmt.Sprintf("validators may ignore the parent's DS record of the key %d, as its digest is of type", test.ignored.Tag)
		} else if test.trouble {
			want = otherKeysProblem
		}
		if got := status.Parent.Problem; (got == "") != (want == "") || !strings.HasPrefix(got, want) {
			t.Errorf("%s: the problem is %q, want %q", name, got, want)
		}
		if waits := strings.Contains(status.Next, "is to have a DS record"); waits == test.goesOn {
			t.Errorf("%s: it waits for %q", name, status.Next)
		}
	}
}

// TestWeakDigestIsNoAnchor has a listed key not be left out where the DS record of the other one is ignored, and counts
// a weak DS record as there where it is to go.
func TestWeakDigestIsNoAnchor(t *testing.T) {
	t.Parallel()
	k, view := rolledKeys(t, "ED25519")
	old, next := k.All[0], k.All[1]
	var seen Seen
	view.DS = []*dns.DS{old.Record.ToDS(1), next.DS()}
	seen = seen.With(view)
	if _, ok := seen.usedSince(old.Record); !ok {
		t.Error("SHA-1 is of use where the algorithm has nothing else")
	}
	view.DS = append(view.DS, &dns.DS{KeyTag: 1, Algorithm: old.Record.Algorithm, DigestType: 2, Digest: "00"})
	seen = seen.With(view)
	if _, ok := seen.usedSince(old.Record); ok {
		t.Error("SHA-1 is of use beside SHA-256")
	}
	if at, ok := seen.since(old.Record); !ok || !at.Equal(testNow) {
		t.Errorf("it is there since %v", at)
	}
	if !view.has(old) || view.isAnchor(old) || view.anchors(old) {
		t.Error("the SHA-1 record is there, and no anchor")
	}
}
