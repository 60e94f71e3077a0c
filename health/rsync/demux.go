package rsync

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
)

// Codes of the multiplexed stream (rsync.h, enum msgcode). The wire carries them
// with tagBase added.
const (
	tagBase = 7 // MPLEX_BASE

	codeData      = 0
	codeFirstText = 1 // FERROR_XFER: the one kind of error before version 30
	codeInfo      = 2 // FINFO
	codeWarning   = 4 // FWARNING
	codeLastText  = 8 // FERROR_UTF8
)

// A demux reads the data of a multiplexed stream and keeps the first thing that the
// daemon said beside it. A frame is a little-endian word, the tag in its high byte
// and the length in the other three, and so many bytes (rsync(5), "Multiplexing").
type demux struct {
	in   *bufio.Reader
	left int // bytes of the current data frame not yet read

	said    string // printable; an error displaces information
	isError bool   // said is an error
}

// Read implements [io.Reader]. Frames without data are legal, as a sign of life
// (io.c, maybe_send_keepalive); the conversation's budget bounds their number.
func (d *demux) Read(p []byte) (int, error) {
	for d.left == 0 {
		if err := d.nextFrame(); err != nil {
			return 0, err
		}
	}
	n, err := d.in.Read(p[:min(len(p), d.left)])
	d.left -= n
	return n, err
}

// nextFrame reads a frame's head, and all of the frame if it is not data.
func (d *demux) nextFrame() error {
	var head [4]byte
	if _, err := io.ReadFull(d.in, head[:]); err != nil {
		return err
	}
	word := binary.LittleEndian.Uint32(head[:])
	code, length := int(word>>24)-tagBase, int(word&0xffffff)
	switch {
	case code == codeData:
		d.left = length
		return nil
	case code < codeFirstText || code > codeLastText:
		// Other codes came with version 30 or pass between rsync's own
		// processes. Whatever this is, it is not the stream we agreed upon.
		return fmt.Errorf("%w: frame with tag %d", ErrProtocol, word>>24)
	case length > maxMessage:
		return fmt.Errorf("%w: message of %d bytes", ErrProtocol, length)
	}
	text := make([]byte, length)
	if _, err := io.ReadFull(d.in, text); err != nil {
		return err
	}
	d.hear(code, string(text))
	return nil
}

// hear keeps the first error, or before any error the first information.
func (d *demux) hear(code int, text string) {
	isError := code != codeInfo && code != codeWarning
	if strings.TrimSpace(text) == "" || d.said != "" && (d.isError || !isError) {
		return
	}
	d.said, d.isError = printable(text), isError
}
