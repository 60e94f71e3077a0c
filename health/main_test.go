package health

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMain fails the package if a goroutine of ours outlives the tests.
func TestMain(m *testing.M) {
	if os.Getenv(farmEnv) != "" {
		runFarm()
		return
	}
	code := m.Run()
	if stacks := leaked(); code == 0 && stacks != "" {
		fmt.Fprintf(os.Stderr, "goroutines left behind:\n%s\n", stacks)
		code = 1
	}
	os.Exit(code)
}

// leaked waits for the goroutines of this package to end, and returns the stacks of those that do not.
func leaked() string {
	buf := make([]byte, 4<<20)
	for deadline := time.Now().Add(5 * time.Second); ; runtime.Gosched() {
		var ours []string
		for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(stack, "mirrorpool/health") && !strings.Contains(stack, "TestMain") {
				ours = append(ours, stack)
			}
		}
		if len(ours) == 0 || time.Now().After(deadline) {
			return strings.Join(ours, "\n\n")
		}
	}
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
