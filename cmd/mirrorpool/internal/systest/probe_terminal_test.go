//go:build linux

package systest

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// openTerminal returns both ends of a pseudo-terminal.
func openTerminal(t *testing.T) (user, program *os.File) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminal can be had: %v", err)
	}
	t.Cleanup(func() { user.Close() })
	fd := int(user.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return user, program
}

// TestProbeOnATerminal watches the progress of a probe that would take minutes, and interrupts it.
func TestProbeOnATerminal(t *testing.T) {
	t.Parallel()
	path, err := buildProgram()
	if err != nil {
		t.Fatal(err)
	}
	user, program := openTerminal(t)
	cmd := exec.Command(path, "probe", "--config", hangingPool(t))
	var stdout strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, program
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	if err := user.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Log(err) // then it takes until the test's own end
	}
	if got := readUntil(user, "checked"); !strings.HasSuffix(strings.TrimSuffix(got, "\x1b[K"), "\r0 of 1 checked") {
		t.Errorf("the terminal shows %q", got)
	}
	start := time.Now()
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	got := readUntil(user, "interrupted\r\n")
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitFailure ||
		!strings.HasSuffix(got, "\r\x1b[Kmirrorpool: interrupted\r\n") || stdout.Len() > 0 {
		t.Errorf("after an interrupt: exit code %d, the terminal shows %q, and stdout has %q", code, got, stdout.String())
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("an interrupt takes %v to end it", took)
	}
}
