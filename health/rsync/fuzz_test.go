package rsync

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// FuzzStat plays a hostile daemon. Stat must end, on a bounded diet, with a plausible
// file or a printable error; how the network cuts the stream must not matter.
func FuzzStat(f *testing.F) {
	seeds, err := filepath.Glob(filepath.Join("testdata", "daemon", "*.bin")) // see -record
	if err != nil || len(seeds) == 0 {
		f.Fatalf("no recorded conversations: %v", err)
	}
	for _, name := range seeds {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, "project/trace")
	}
	f.Add([]byte(okay+seed+frame(codeData, trace+endOfList)), "trace")
	f.Add([]byte(okay+seed+frame(codeData, "\x1c\xff"+trace[1:]+"\x3a\x04\x01f"+le(-1)+le(1)+le(1)+le(7)+endOfList)), "tracf")

	f.Fuzz(func(t *testing.T, said []byte, path string) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		conn := newScript(said, 0)
		got, err := Stat(t.Context(), conn, "tails", path)
		runtime.ReadMemStats(&after)

		// The budget, and room for what is taken apart and the fuzzer's own.
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 4*maxConversation {
			t.Errorf("allocated %d bytes", grown)
		}
		if read := len(said) - conn.said.Len(); read > maxConversation {
			t.Errorf("read %d bytes", read)
		}
		if err != nil {
			if got != (File{}) {
				t.Errorf("got %+v beside %v", got, err)
			}
			checkText(t, err)
		} else {
			checkFile(t, got)
		}

		again, errAgain := Stat(t.Context(), newScript(said, 1), "tails", path)
		if again != got || (err == nil) != (errAgain == nil) || err != nil && err.Error() != errAgain.Error() {
			t.Errorf("got %+v, %v, but byte by byte %+v, %v", got, err, again, errAgain)
		}
	})
}

// checkFile fails the test if a file could not exist.
func checkFile(t *testing.T, f File) {
	t.Helper()
	first, last := time.Unix(0, 0), time.Unix(1<<32-1, 0)
	if f.Size < 0 || f.ModTime.Before(first) || f.ModTime.After(last) || f.ModTime.Location() != time.UTC ||
		f.Mode != f.Mode.Perm() {
		t.Errorf("implausible file %+v", f)
	}
}

// TestRecorded replays the real daemon's side of a conversation, so that the seeds stay
// what they claim to be even where rsync is not installed.
func TestRecorded(t *testing.T) {
	for _, version := range []string{"27", "28", "29"} {
		b, err := os.ReadFile(filepath.Join("testdata", "daemon", version+"-trace.bin"))
		if err != nil {
			t.Fatal(err)
		}
		conn := newScript(b, 0)
		got, err := stat(t.Context(), conn, "tails", "project/trace", map[string]int{"27": 27, "28": 28, "29": 29}[version])
		if want := (File{11, traceTime, 0o600}); err != nil || got != want {
			t.Errorf("version %s: got %+v, %v, want %+v", version, got, err, want)
		}
		if conn.said.Len() > 0 {
			t.Errorf("version %s: %d bytes left unread", version, conn.said.Len())
		}
	}
}
