package rsync

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// greet reads the daemon's greeting and settles the version. The daemon speaks first
// (clientserver.c, exchange_protocols), as in "@RSYNCD: 31.0 sha512 md5": its
// version, a subversion that counts only for pre-releases, and names of digests for
// authentication.
func (s *session) greet(offer int) error {
	s.step = "waiting for the daemon's greeting"
	line, err := s.readLine()
	switch {
	case errors.Is(err, io.EOF) && line == "":
		// A super-server at its limit does so: systemd's MaxConnections, xinetd's max_load.
		return fmt.Errorf("%w: it hung up before its greeting: %w", ErrBusy, io.ErrUnexpectedEOF)
	case err != nil:
		return err
	case strings.HasPrefix(line, "@ERROR"):
		return refusal(line)
	}
	version, ok := parseGreeting(line)
	if !ok {
		return fmt.Errorf("%w: want a greeting, got %q", ErrProtocol, printable(line))
	}
	if version < oldestVersion {
		return fmt.Errorf("%w: it speaks version %d of the protocol, want %d or newer",
			ErrProtocol, version, oldestVersion)
	}
	s.version = min(version, offer)
	return nil
}

// parseGreeting returns the main version in a greeting.
func parseGreeting(line string) (version int, ok bool) {
	rest, ok := strings.CutPrefix(line, "@RSYNCD: ")
	if !ok {
		return 0, false
	}
	if i := strings.IndexAny(rest, ". "); i >= 0 {
		rest = rest[:i]
	}
	v, err := strconv.ParseUint(rest, 10, 16)
	return int(v), err == nil
}

// open sends our greeting and chooses the module. Until the daemon agrees, it sends
// its message of the day, which has no end mark and is skipped line by line.
func (s *session) open(module string, offer int) error {
	s.step = fmt.Sprintf("opening module %q", module)
	if err := s.send(fmt.Appendf(nil, "@RSYNCD: %d\n%s\n", offer, module)); err != nil {
		return err
	}
	for skipped := 0; skipped <= maxMOTD; {
		line, err := s.readLine()
		if err != nil {
			return err
		}
		switch {
		case line == "@RSYNCD: OK":
			return nil
		case line == "@RSYNCD: EXIT": // ends a listing of modules, never asked for here
			return fmt.Errorf("%w: %s", ErrRefused, line)
		case strings.HasPrefix(line, "@RSYNCD: AUTHREQD"):
			return ErrAuthRequired
		case strings.HasPrefix(line, "@ERROR"):
			return refusal(line)
		}
		skipped += len(line) + 1
	}
	return fmt.Errorf("%w: its message of the day exceeds %d bytes", ErrProtocol, maxMOTD)
}

// readLine reads one line, without its end. With an error, it is what came of the line.
func (s *session) readLine() (string, error) {
	line, err := s.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return "", fmt.Errorf("%w: it sent a line of more than %d bytes", ErrProtocol, maxLine)
	}
	return strings.TrimRight(string(line), "\r\n"), err
}
