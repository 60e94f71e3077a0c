package source

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain fails the package if a goroutine outlives the tests: the code that starts one waits for it.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
