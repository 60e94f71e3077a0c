package rsync

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What can be wrong with a daemon, a module or a path. Errors of [Stat] wrap these.
var (
	// ErrTarget: the module or path cannot be asked for. Nothing was sent.
	ErrTarget = errors.New("cannot ask for this over rsync")

	// ErrProtocol: the other end does not speak rsync, speaks too old a version of
	// it, breaks its rules, or says more than it needs to.
	ErrProtocol = errors.New("not a usable rsync daemon")

	// ErrUnknownModule: the daemon knows no such module, or hides it from us.
	ErrUnknownModule = errors.New("the daemon has no such module")

	// ErrAuthRequired: the module is not open to everyone.
	ErrAuthRequired = errors.New("the module asks for a password")

	// ErrRefused: the daemon refused for another reason, such as an address
	// that it denies.
	ErrRefused = errors.New("the daemon refused")

	// ErrBusy: the daemon refused because of its load, or by a hook. A later attempt
	// may succeed, so this says nothing of what it serves.
	ErrBusy = errors.New("the daemon refused for now")

	// ErrNoFile: the module is open, but has no regular file at the path.
	ErrNoFile = errors.New("the daemon lists no such file")
)

// refusal makes an error of what a daemon says when it refuses: a line that begins with
// @ERROR, or a message beside the file list.
//
// The protocol has no codes: the words (clientserver.c, start_daemon and
// rsync_module) are the only sign. If they change, the error becomes the broader one.
func refusal(text string) error {
	kind := ErrRefused
	switch {
	case strings.HasPrefix(text, "@ERROR: Unknown module"):
		kind = ErrUnknownModule
	case isBusy(text):
		kind = ErrBusy
	}
	return fmt.Errorf("%w: %s", kind, printable(text))
}

// busyWords are what daemons say when they lack a resource, and what hooks that
// watch the load make them say.
var busyWords = [...]string{
	"max connections", "try again later", "fork failed", "failed to open lock file",
	"early exec failed", "early exec preparation failed", "pre-xfer exec",
	"too busy", "server busy", "overloaded", "load average", "load is too high", "too many connections",
}

// isBusy reports whether a refusal may be over with the next client. A negative limit of
// connections is how an administrator closes a module (rsyncd.conf(5)).
func isBusy(text string) bool {
	text = strings.ToLower(text)
	for _, lasting := range [...]string{"max connections (-", "access denied", "auth failed"} {
		if strings.Contains(text, lasting) {
			return false
		}
	}
	for _, words := range busyWords {
		if strings.Contains(text, words) {
			return true
		}
	}
	return false
}

// noFile makes the error for a list that lacks the file asked for, with the daemon's
// own words if it gave any: link_stat's complaint, or the directory it skipped.
func (s *session) noFile() error {
	if s.demux.said == "" {
		return ErrNoFile
	}
	return fmt.Errorf("%w: %s", ErrNoFile, s.demux.said)
}

// maxQuote is how many characters of a daemon's words, or of a name, an error repeats.
const maxQuote = 200

// quote puts a name that may be anything into an error.
func quote(name string) string { return strconv.Quote(printable(name)) }

// printable makes a stranger's text fit for a log line or a terminal.
func printable(text string) string {
	var b strings.Builder
	n := 0
	for _, r := range strings.TrimSpace(text) {
		if n == maxQuote {
			b.WriteString("...")
			break
		}
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			r = '?'
		}
		b.WriteRune(r)
		n++
	}
	return b.String()
}
