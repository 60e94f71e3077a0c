package probe

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain fails the package if a goroutine outlives the tests.
func TestMain(m *testing.M) {
	if os.Getenv(farmEnv) != "" {
		runFarm()
		return
	}
	goleak.VerifyTestMain(m)
}
