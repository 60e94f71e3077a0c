package testbed

import (
	"bytes"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"
)

// A Log takes what a program writes.
type Log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write adds to the log.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// String returns what has been written.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Start runs a server until the test ends, or stop is called. If the test fails, it shows what the server wrote.
func Start(t testing.TB, cmd *exec.Cmd) (stop func()) {
	t.Helper()
	var log Log
	if cmd.Stdout == nil {
		cmd.Stdout = &log
	}
	if cmd.Stderr == nil {
		cmd.Stderr = &log
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	stop = func() {
		cmd.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			cmd.Process.Kill()
			<-ended
		}
	}
	t.Cleanup(func() {
		stop()
		if text := log.String(); t.Failed() && text != "" {
			t.Logf("%s wrote:\n%s", cmd.Path, text)
		}
	})
	return stop
}
