package rsync

import (
	"errors"
	"testing"
)

func TestRefusal(t *testing.T) {
	for text, want := range map[string]error{
		"@ERROR: max connections (200) reached -- try again later": ErrBusy,
		"@ERROR: max connections (5) reached - try again later":    ErrBusy, // before rsync 2.6
		"@ERROR: max connections (-1) reached -- try again later":  ErrRefused,
		"@ERROR: failed to open lock file":                         ErrBusy,
		"@ERROR: fork failed":                                      ErrBusy,
		"@ERROR: early exec failed":                                ErrBusy,
		"@ERROR: pre-xfer exec preparation failed":                 ErrBusy,
		"pre-xfer exec returned failure (256): come back tonight":  ErrBusy,
		"@ERROR: Server too busy":                                  ErrBusy,

		"@ERROR: Unknown module 'downloads'":                             ErrUnknownModule,
		"@ERROR: access denied to overloaded from h.example (192.0.2.1)": ErrRefused,
		"@ERROR: auth failed on module overloaded":                       ErrRefused,
		"@ERROR: chdir failed":                                           ErrRefused,
		"@ERROR: go away":                                                ErrRefused,
	} {
		if err := refusal(text); !errors.Is(err, want) {
			t.Errorf("%q: got %v, want %v", text, err, want)
		}
	}
}
