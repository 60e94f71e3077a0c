package rsync

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode"
)

// The tests in this file face daemons that misbehave.

// frame multiplexes one message.
func frame(code int, payload string) string {
	return string(binary.LittleEndian.AppendUint32(nil, uint32(code+tagBase)<<24|uint32(len(payload)))) + payload
}

// le encodes an integer as the protocol does.
func le(n int32) string {
	return string(binary.LittleEndian.AppendUint32(nil, uint32(n)))
}

const (
	hello = "@RSYNCD: 29\n"
	okay  = hello + "@RSYNCD: OK\n"
	seed  = "seed"
)

// trace is the entry of a file named trace: 11 bytes, from 2026, mode 0644.
var trace = "\x18\x05trace" + le(11) + le(1772368497) + le(modeRegular|0o644)

// endOfList is its end mark and the count of I/O errors.
var endOfList = "\x00" + le(0)

// fake serves one connection: it says its lines at once and then hangs, or hangs up.
// It discards all input. It returns the address to dial.
func fake(t testing.TB, hangUp bool, say func(w io.Writer)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() {
		l.Close()
		<-ended
	})
	go func() {
		defer close(ended)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		heard := make(chan struct{})
		go func() {
			defer close(heard)
			io.Copy(io.Discard, conn) // until the client hangs up
		}()
		say(conn)
		if hangUp {
			conn.(*net.TCPConn).CloseWrite()
		}
		<-heard
	}()
	return l.Addr().String()
}

func saying(lines string) func(io.Writer) {
	return func(w io.Writer) { io.WriteString(w, lines) }
}

// statFake asks a fake daemon, and closes the connection so that it ends.
func statFake(ctx context.Context, t testing.TB, addr string) (File, error) {
	t.Helper()
	conn := dial(t, addr)
	defer conn.Close()
	return Stat(ctx, conn, "tails", "project/trace")
}

// steps are prefixes of a good conversation, each of which leaves Stat waiting.
var steps = []struct{ name, said, waiting string }{
	{"silent", "", "waiting for the daemon's greeting"},
	{"half a greeting", "@RSYNCD", "waiting for the daemon's greeting"},
	{"greeting", hello, `opening module "tails"`},
	{"MOTD", hello + "Welcome\n", `opening module "tails"`},
	{"OK", okay, "asking for the file"},
	{"half a seed", okay + "se", "asking for the file"},
	{"seed", okay + seed, "reading the file list"},
	{"half a frame head", okay + seed + "\x01", "reading the file list"},
	{"empty frame", okay + seed + frame(codeData, ""), "reading the file list"},
	{"half an entry", okay + seed + frame(codeData, trace[:9]), "reading the file list"},
	{"half a frame", okay + seed + frame(codeData, trace)[:9], "reading the file list"},
	{"half a message", okay + seed + frame(codeFirstText, "words")[:6], "reading the file list"},
	{"entry", okay + seed + frame(codeData, trace), "reading the file list"},
	{"list", okay + seed + frame(codeData, trace+"\x00"), "reading the file list"},
}

func TestHangingDaemon(t *testing.T) {
	for _, tt := range steps {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			addr := fake(t, false, saying(tt.said))
			_, err := statFake(within(t, 200*time.Millisecond), t, addr)
			if !errors.Is(err, context.DeadlineExceeded) || !strings.HasPrefix(err.Error(), tt.waiting) {
				t.Errorf("got %v, want %s: %v", err, tt.waiting, context.DeadlineExceeded)
			}
		})
	}
}

func TestDaemonHangsUp(t *testing.T) {
	for _, tt := range steps {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			addr := fake(t, true, saying(tt.said))
			_, err := statFake(within(t, 10*time.Second), t, addr)
			if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.HasPrefix(err.Error(), tt.waiting) {
				t.Errorf("got %v, want %s: %v", err, tt.waiting, io.ErrUnexpectedEOF)
			}
		})
	}
}

// TestCancel shows that a cancellation, with its cause, ends a wait that has no deadline.
func TestCancel(t *testing.T) {
	cause := errors.New("the mirror was removed")
	ctx, cancel := context.WithCancelCause(t.Context())
	addr := fake(t, false, func(w io.Writer) {
		io.WriteString(w, okay)
		cancel(cause)
	})
	if _, err := statFake(ctx, t, addr); !errors.Is(err, cause) {
		t.Errorf("got %v, want %v", err, cause)
	}
	if _, err := statFake(ctx, t, fake(t, false, saying(okay))); !errors.Is(err, cause) {
		t.Errorf("cancelled before: got %v, want %v", err, cause)
	}
}

// TestDeafDaemon writes to a pipe without a buffer and without a reader.
func TestDeafDaemon(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	said := make(chan struct{})
	go func() {
		defer close(said)
		io.WriteString(theirs, hello)
	}()
	_, err := Stat(within(t, 100*time.Millisecond), ours, "tails", "project/trace")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
	<-said
}

// TestSlowGoodbye: a daemon that does not hang up after a complete answer has answered.
func TestSlowGoodbye(t *testing.T) {
	addr := fake(t, false, saying(okay+seed+frame(codeData, trace+endOfList)))
	start := time.Now()
	got, err := statFake(within(t, 200*time.Millisecond), t, addr)
	if want := (File{11, time.Unix(1772368497, 0).UTC(), 0o644}); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if took := time.Since(start); took > goodbyeLimit {
		t.Errorf("took %v, beyond the context's end", took)
	}
}

func TestFakeDaemon(t *testing.T) {
	list := func(s string) string { return okay + seed + frame(codeData, s) }
	tests := []struct {
		name string
		said string
		err  error
		says string
	}{
		{"newest", "@RSYNCD: 32.0 sha512 sha256 md5\n@RSYNCD: OK\n" + seed + frame(codeData, trace+endOfList), nil, ""},
		{"pre-release", "@RSYNCD: 33.7\n@RSYNCD: OK\n" + seed + frame(codeData, trace+endOfList), nil, ""},
		{"oldest", "@RSYNCD: 27\n@RSYNCD: OK\n" + seed + frame(codeData, trace+endOfList), nil, ""},
		{"carriage returns", "@RSYNCD: 29\r\n@RSYNCD: OK\r\n" + seed + frame(codeData, trace+endOfList), nil, ""},
		{"dot before", list("\x19\x01." + le(4096) + le(5) + le(modeDirectory|0o755) + trace + endOfList), nil, ""},
		{"message between", okay + seed + frame(codeData, trace[:3]) + frame(codeInfo, "hm") +
			frame(codeData, "") + frame(codeData, trace[3:]+endOfList), nil, ""},
		{"extended flags", list("\x1c\xff" + trace[1:] + endOfList), nil, ""},

		{"too old", "@RSYNCD: 19\n", ErrProtocol, "it speaks version 19 of the protocol, want 27 or newer"},
		{"web server", "HTTP/1.1 400 Bad Request\r\n", ErrProtocol, `got "HTTP/1.1 400 Bad Request"`},
		{"no version", "@RSYNCD: new\n", ErrProtocol, `got "@RSYNCD: new"`},
		{"huge version", "@RSYNCD: 99999999999999999999\n", ErrProtocol, "want a greeting"},
		{"negative version", "@RSYNCD: -29\n", ErrProtocol, "want a greeting"},
		{"refuses at once", "@ERROR: go away\n", ErrRefused, "the daemon refused: @ERROR: go away"},
		{"exit", hello + "@RSYNCD: EXIT\n", ErrRefused, "@RSYNCD: EXIT"},
		{"bare AUTHREQD", hello + "@RSYNCD: AUTHREQD\n", ErrAuthRequired, ""},
		{"control characters", hello + "@ERROR: \x1b[31mred\x07\xff\u202e\t!\n", ErrRefused, "@ERROR: ?[31mred????!"},
		{"long refusal", hello + "@ERROR: " + strings.Repeat("x", 3000) + "\n", ErrRefused, "xxx..."},
		{"message, then the end", okay + seed + frame(codeFirstText, "no such option\n"), ErrRefused,
			"the daemon refused: no such option"},
		{"error after info", list("\x00") + frame(codeInfo, "a") + frame(codeFirstText, "b") +
			frame(codeFirstText, "c") + frame(codeData, le(1)), ErrNoFile, "no such file: b"},

		{"empty list", list(endOfList), ErrNoFile, ""},
		{"words after an empty list", list(endOfList) + frame(codeFirstText, "vanished"), ErrNoFile, "vanished"},
		{"another file", list("\x18\x05track" + trace[7:] + endOfList), ErrNoFile, ""},
		{"directory", list("\x18\x05trace" + le(1) + le(1) + le(modeDirectory|0o755) + endOfList), ErrNoFile, "is a directory"},
		{"device", list("\x18\x05trace" + le(1) + le(1) + le(0o060644) + endOfList), ErrNoFile, "not a regular file (mode 60644)"},
		{"too many files", list(strings.Repeat(trace, maxEntries+1) + endOfList), ErrProtocol, "more than 16 files"},
		{"negative name", list("\x58" + le(-1)), ErrProtocol, "file name of -1 new bytes"},
		{"huge name", list("\x58" + le(1<<31-1)), ErrProtocol, "file name of 2147483647 new bytes"},
		{"no name", list("\x18\x00"), ErrProtocol, "file name of 0 new bytes"},
		{"repeats nothing", list("\x38\x09\x01x"), ErrProtocol, "after 9 of 0 old ones"},
		{"negative size", list("\x18\x05trace" + le(-2)), ErrProtocol, "file size -2"},
		{"negative long size", list("\x18\x05trace" + le(-1) + le(0) + le(-1)), ErrProtocol, "file size"},
		{"long message", okay + seed + frame(codeFirstText, strings.Repeat("x", maxMessage+1)), ErrProtocol, "message of 8193 bytes"},
		{"lying frame", okay + seed + "\xff\xff\xff\x09", ErrProtocol, "message of 16777215 bytes"},
		{"unknown tag", okay + seed + "\x00\x00\x00\x31", ErrProtocol, "frame with tag 49"},
		{"not multiplexed", okay + seed + trace, ErrProtocol, "frame with tag 114"},
		{"long line", hello + strings.Repeat("x", maxLine) + "\n", ErrProtocol, "a line of more than 4096 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := statFake(within(t, 10*time.Second), t, fake(t, true, saying(tt.said)))
			if !errors.Is(err, tt.err) || (err == nil) != (got.Size == 11) {
				t.Fatalf("got %+v, %v, want %v", got, err, tt.err)
			}
			if err == nil {
				return
			}
			if !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %q does not say %q", err, tt.says)
			}
			checkText(t, err)
		})
	}
}

// checkText fails the test if an error is unfit for a log line.
func checkText(t *testing.T, err error) {
	t.Helper()
	text := err.Error()
	if n := len(text); n > 2000 {
		t.Errorf("error of %d bytes", n)
	}
	if i := strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
		t.Errorf("error %q is not printable at %d", text, i)
	}
}

// TestEndlessDaemon faces daemons that never stop talking. Stat must stop listening,
// well before its context ends and without keeping what it heard.
func TestEndlessDaemon(t *testing.T) {
	const huge = "\xff\xff\xff\x07" // a frame of 16 MiB less one byte
	tests := []struct{ name, once, forever string }{
		{"greeting", "", "x"},
		{"MOTD", hello, "Welcome!\n"},
		{"empty lines", hello, "\n"},
		{"one line", hello, "x"},
		{"empty frames", okay + seed, frame(codeData, "")},
		{"messages", okay + seed, frame(codeInfo, "still here")},
		{"entries", okay + seed + huge, trace},
		{"long names", okay + seed + huge, "\x58" + le(maxName) + strings.Repeat("n", maxName) + le(1) + le(1) + le(1)},
		{"goodbye", okay + seed + frame(codeData, trace+endOfList), "again and again"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			addr := fake(t, false, func(w io.Writer) {
				chunk := []byte(strings.Repeat(tt.forever, 4096/len(tt.forever)+1))
				_, err := io.WriteString(w, tt.once)
				for err == nil {
					_, err = w.Write(chunk)
				}
			})
			start := time.Now()
			_, err := statFake(within(t, time.Minute), t, addr)
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("took %v", took)
			}
			if wantErr := tt.name != "goodbye"; wantErr != errors.Is(err, ErrProtocol) || !wantErr && err != nil {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestLiesCostNoMemory: a length that a daemon claims is no reason to allocate.
func TestLiesCostNoMemory(t *testing.T) {
	for _, lie := range []string{
		okay + seed + "\xff\xff\xff\x07\x58" + le(1<<31-1),
		okay + seed + "\xff\xff\xff\x07\x58" + le(maxName) + "n",
		okay + seed + "\xff\xff\xff\x08",
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Stat(t.Context(), newScript([]byte(lie), 0), "tails", "project/trace")
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; err == nil || grown > 64<<10 {
			t.Errorf("allocated %d bytes for %v", grown, err)
		}
	}
}

// A script is a connection whose other end has said everything already.
type script struct {
	net.Conn // nil: Stat needs no more methods than those below
	said     *bytes.Reader
	sip      int // at most so many bytes at once; 0 for no limit
	told     bytes.Buffer
}

func newScript(said []byte, sip int) *script {
	return &script{said: bytes.NewReader(said), sip: sip}
}

func (s *script) Read(p []byte) (int, error) {
	if s.sip > 0 && len(p) > s.sip {
		p = p[:s.sip]
	}
	return s.said.Read(p)
}

func (s *script) Write(p []byte) (int, error)   { return s.told.Write(p) }
func (s *script) SetDeadline(_ time.Time) error { return nil }

// TestWhatWeSay pins our side of the conversation, byte for byte.
func TestWhatWeSay(t *testing.T) {
	for greeting, goodbyes := range map[string]int{"@RSYNCD: 27\n": 3, "@RSYNCD: 28\n": 3, "@RSYNCD: 31.0\n": 4} {
		conn := newScript([]byte(greeting+"@RSYNCD: OK\n"+seed+frame(codeData, trace+endOfList)), 0)
		if _, err := Stat(t.Context(), conn, "tails", "/project/trace"); err != nil {
			t.Fatal(err)
		}
		want := "@RSYNCD: 29\ntails\n--server\n--sender\n.\ntails/project/trace\n\n" +
			le(0) + strings.Repeat(le(-1), goodbyes)
		if got := conn.told.String(); got != want {
			t.Errorf("after %q: said %q, want %q", greeting, got, want)
		}
	}
}
