package failure

import (
	"errors"
	"testing"
)

func TestLast(t *testing.T) {
	t.Parallel()
	full, gone := errors.New("disk full"), errors.New("no such folder")
	var last Last
	for i, attempt := range []struct {
		err error
		new bool
	}{{nil, false}, {full, true}, {errors.New("disk full"), false}, {gone, true}, {full, true}, {nil, false}, {full,
		true}, {full, false}} {
		if got := last.IsNew(attempt.err); got != attempt.new {
			t.Errorf("attempt %d, %v: new %v", i, attempt.err, got)
		}
	}
}
