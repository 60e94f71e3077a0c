package daemon

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSharedChallenges takes from each server what can be the answer to a challenge, and no more than one needs.
func TestSharedChallenges(t *testing.T) {
	t.Parallel()
	value := strings.Repeat("a", 43)
	label := strings.Repeat("x", 63)
	for name, want := range map[string]bool{
		"_acme-challenge.dl.example.org.":       true,
		"_acme-challenge._tls.a-b.example.org.": true,
		"_acme-challenge." + label + ".org.":    true,
		"_acme-challenge." + label + "x.org.":   false,
		"_acme-challenge..org.":                 false,
		"_acme-challenge.dl..org.":              false,
		"_acme-challenge.":                      false,
		"_acme-challenge.dl.example.org":        false,
		"_acme-challenge.-a.org.":               false,
		"_acme-challenge.DL.org.":               false,
		"_acme-challenge.*.org.":                false,
		"dl.example.org.":                       false,
		"_acme-challenge." + strings.Repeat(label+".", 3) + "abcdefghij.org.": true,
		"_acme-challenge." + strings.Repeat(label+".", 4):                     false,
	} {
		if got := isChallenge(name, value); got != want {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
	}
	for _, bad := range []string{"", value + "a", value[1:], value[1:] + "=", value[1:] + "\n"} {
		if isChallenge("_acme-challenge.dl.example.org.", bad) {
			t.Errorf("the value %q is taken", bad)
		}
	}

	all := sharedTXT{}
	flood := sharedTXT{}
	for i := range 2 * maxSharedNames {
		flood[fmt.Sprintf("_acme-challenge.a%03d.example.org.", i)] = []string{value}
	}
	const honest = "_acme-challenge.www.example.org."
	all.add(flood)
	all.add(sharedTXT{honest: {value, value, strings.Repeat("b", 43), strings.Repeat("c", 43), strings.Repeat("d", 43)}})
	if diff := cmp.Diff([]string{value, strings.Repeat("b", 43), strings.Repeat("c", 43)}, all[honest]); diff != "" || len(all) != maxSharedNames+1 {
		t.Errorf("%d names (-want +got):\n%s", len(all), diff)
	}
}

// TestFitting: what a note has no room for is left out.
func TestFitting(t *testing.T) {
	t.Parallel()
	list := make([]string, 100)
	for i := range list {
		list[i] = strings.Repeat("é", 500)
	}
	some, all := fitting(list)
	if all || len(some) != noteRoom/1003 {
		t.Errorf("%d of them, %v", len(some), all)
	}
	if some, all = fitting(list[:5]); !all || len(some) != 5 {
		t.Errorf("%d of 5, %v", len(some), all)
	}
}
