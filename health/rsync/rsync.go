// Package rsync asks an rsync daemon for the sizes and times of files: of one, or of all in a tree.
//
// It is a client for the greeting and the file list of the rsync daemon
// protocol (TCP port 873), and nothing more: it transfers no file, logs in
// nowhere, resolves and dials nothing, and runs no rsync program. The caller brings the connection, since
// a health check must reach the very address that it judges.
//
// # Protocol version
//
// The package offers version 29 and accepts a daemon whose own version is 27 or
// newer; the two sides then speak the lower one. Every daemon since rsync 2.6.0
// takes part: rsync 3.x still serves clients down to version 20
// (MIN_PROTOCOL_VERSION in its rsync.h). Version 30 brought variable-length
// integers, flags announced ahead of the list, and later the choice of a checksum
// by name. All of that serves transfers. The one thing it would report better is a
// time beyond 32 bits: see [File.ModTime] for what that costs.
//
// [Stat] sends no option beside --server and --sender: an option could be named in the
// daemon's "refuse options", and each one adds fields to the list. [List] adds -r, without
// which there is no tree, and -L if the caller wants symbolic links to be followed.
//
// # Sources
//
// The rsync project publishes no specification. The facts here come from
// openrsync's manual page rsync(5), which describes version 27, from the file
// names given beside each constant (rsync's own source, read for facts), and from
// listening to rsync 3.5.0.
package rsync

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path"
	"strings"
	"syscall"
	"time"
)

// Limits on what a daemon may send. A well-behaved one stays far below them.
const (
	maxConversation = 256 << 10 // bytes altogether
	maxLine         = 4 << 10   // bytes in one line before the file list
	maxMOTD         = 64 << 10  // bytes of message of the day
	maxMessage      = 8 << 10   // bytes in one message beside the file list
	maxEntries      = 16        // files listed, where one is asked for
	maxName         = 4 << 10   // bytes in one file name: MAXPATHLEN on Linux

	// goodbyeLimit bounds the wait for the daemon to hang up. The answer is
	// known by then, so a slow end must not turn it into a failure.
	goodbyeLimit = 2 * time.Second
)

// Versions of the protocol: see the package comment.
const (
	offeredVersion = 29
	oldestVersion  = 27
)

// A File is what the daemon reports of one regular file.
type File struct {
	// Size is in bytes, never negative.
	Size int64

	// ModTime is in whole seconds, in UTC. The wire carries 32 bits, which
	// rsync reads as unsigned: right from 1970 to 2106, while a time outside is
	// wrapped by the daemon and cannot be distinguished from one inside.
	ModTime time.Time

	// Mode holds the permission bits alone.
	Mode fs.FileMode
}

// Stat asks the daemon at the other end of conn for the file at filePath inside
// module. The path is relative to the module's root.
//
// Stat returns by the end of ctx, and on ctx alone does its patience depend: give
// it a deadline. It takes over the deadlines of conn, which it does not close and
// which is of no use afterwards.
//
// The error wraps one of the Err values of this package, or the error of ctx, or
// that of the connection ([io.ErrUnexpectedEOF] if the daemon hung up). It is meant
// to be read by an operator; what it quotes of the daemon is short and printable.
func Stat(ctx context.Context, conn net.Conn, module, filePath string) (File, error) {
	return stat(ctx, conn, module, filePath, offeredVersion)
}

// stat is Stat with the version to offer, which tests lower.
func stat(ctx context.Context, conn net.Conn, module, filePath string, offer int) (File, error) {
	filePath, err := checkTarget(module, filePath)
	if err != nil {
		return File{}, err
	}

	defer endWith(ctx, conn)()
	s := newSession(ctx, conn, maxConversation)
	file, err := s.stat(module, filePath, offer)
	if err != nil {
		return File{}, s.explain(err)
	}
	return file, nil
}

// endWith ends reads and writes of conn with ctx, until the returned function is called.
func endWith(ctx context.Context, conn net.Conn) (release func()) {
	poisoned := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(poisoned)
		conn.SetDeadline(time.Unix(1, 0)) // long past: ends reads and writes under way
	})
	return func() {
		if !stop() {
			<-poisoned
		}
	}
}

// A session is one conversation with a daemon.
type session struct {
	ctx     context.Context
	conn    net.Conn
	in      *bufio.Reader
	version int    // agreed upon
	step    string // what is being done, for errors
	demux   *demux // once the daemon has begun to multiplex
}

// newSession returns a session in which the daemon may send so many bytes.
func newSession(ctx context.Context, conn net.Conn, most int) *session {
	in := bufio.NewReaderSize(&budget{r: conn, left: most, most: most}, maxLine)
	return &session{ctx: ctx, conn: conn, in: in}
}

// stat holds the whole conversation, in its order on the wire.
func (s *session) stat(module, filePath string, offer int) (File, error) {
	if err := s.greet(offer); err != nil {
		return File{}, err
	}
	if err := s.open(module, offer); err != nil {
		return File{}, err
	}
	if err := s.request(nil, module+"/"+filePath, nil); err != nil {
		return File{}, err
	}

	s.step = "reading the file list"
	// Without --relative the daemon names a file by the last element of its path.
	e, found, err := findEntry(s.demux, s.version, path.Base(filePath))
	if err != nil {
		return File{}, err
	}
	if !found {
		s.awaitReason()
		return File{}, s.noFile()
	}
	s.goodbye()
	return e.file()
}

// request asks for one path, with options and filter rules, and reads up to where the file list begins.
func (s *session) request(options []string, arg string, rules []string) error {
	s.step = "asking for the file list"
	// Up to version 29 arguments are lines, and an empty line ends them
	// (clientserver.c, read_args). Paths begin after ".".
	lines := append(append([]string{"--server", "--sender"}, options...), ".", arg, "", "")
	if err := s.send([]byte(strings.Join(lines, "\n"))); err != nil {
		return err
	}

	// The daemon answers with the seed of its checksums, of which we need none.
	// From here on everything it sends is multiplexed (rsync(5), "Handshake").
	if _, err := io.ReadFull(s.in, make([]byte, 4)); err != nil {
		return err
	}
	s.demux = &demux{in: s.in}

	// The filter rules, each after its length; a length of zero ends them (exclude.c,
	// send_filter_list). What a client of version 29 sends is not multiplexed.
	var text []byte
	for _, rule := range rules {
		text = append(binary.LittleEndian.AppendUint32(text, uint32(len(rule))), rule...)
	}
	return s.send(append(text, 0, 0, 0, 0))
}

func (s *session) send(b []byte) error {
	_, err := s.conn.Write(b)
	return err
}

// awaitReason lets the daemon finish where its list is empty. It hangs up by itself
// then, so nothing must be sent: a reset could overtake its words. These usually
// come before the list ends.
func (s *session) awaitReason() {
	if s.demux.said == "" && s.lastWait() {
		io.Copy(io.Discard, s.demux)
	}
}

// goodbye ends the conversation as rsync itself would after wanting no file, so that the
// daemon logs a finished request and not a broken one. What goes wrong here
// changes nothing about the file, so it is not reported.
func (s *session) goodbye() {
	if !s.lastWait() {
		return
	}
	// -1 ends each phase of the transfer, and once more the whole. There are two
	// phases, three from version 29 on (sender.c, send_files).
	n := 3
	if s.version >= 29 {
		n = 4
	}
	if err := s.send(bytes.Repeat([]byte{0xff}, 4*n)); err != nil {
		return
	}
	io.Copy(io.Discard, s.in) // bounded by the conversation's budget
}

// lastWait gives the connection goodbyeLimit more, and reports whether ctx still
// allows it. The order counts: a ctx that ends after the check sets its deadline
// after ours.
func (s *session) lastWait() bool {
	err := s.conn.SetDeadline(time.Now().Add(goodbyeLimit))
	return err == nil && s.ctx.Err() == nil
}

// explain turns an error of a session into one for the caller.
func (s *session) explain(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && s.ctx.Err() != nil:
		return fmt.Errorf("%s: %w", s.step, context.Cause(s.ctx))
	case errors.Is(err, ErrBusy):
		return fmt.Errorf("%s: %w", s.step, err)
	case s.demux != nil && s.demux.said != "" && hungUp(err):
		return refusal(s.demux.said)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%s: the daemon hung up: %w", s.step, io.ErrUnexpectedEOF)
	default:
		return fmt.Errorf("%s: %w", s.step, err)
	}
}

// hungUp reports whether err is that of a connection which the daemon has ended. It is reset where the daemon
// has not read all that we sent.
func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
}

// A budget reads from r until it has given left bytes, and then fails instead of
// feigning an end.
type budget struct {
	r          io.Reader
	left, most int
}

func (b *budget) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, fmt.Errorf("%w: it sent more than %d bytes", ErrProtocol, b.most)
	}
	n, err := b.r.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// readInt reads an integer of the protocol: 32 bits, little-endian.
func readInt(r io.Reader) (int32, error) {
	var b [4]byte
	_, err := io.ReadFull(r, b[:])
	return int32(binary.LittleEndian.Uint32(b[:])), err
}
