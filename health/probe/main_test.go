package probe

import (
	"os"
	"os/exec"
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

// needs returns the path of a program, and skips the test if its Debian package is not installed.
func needs(t testing.TB, program, pkg string) string {
	t.Helper()
	bin, err := exec.LookPath(program)
	if err == nil {
		return bin
	}
	if os.Getenv("MIRRORPOOL_TEST_PEERS") == "all" {
		t.Fatalf("Debian package %s is not installed, and MIRRORPOOL_TEST_PEERS=all wants it", pkg)
	}
	t.Skipf("Debian package %s is not installed", pkg)
	return ""
}
