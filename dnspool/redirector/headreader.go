package redirector

import (
	"bytes"
	"errors"
	"io"
	"net"
	"time"
)

const (
	minHeadBuffer = 1 << 10                // bytes of the buffer, unless a request is longer
	maxPlain      = 4 << 10                // bytes of a plain request
	maxHead       = maxHeaderBytes + 5<<10 // bytes that show net/http that a request is too long
)

// A headReader reads requests from a connection, up to the end of their headers.
type headReader struct {
	net.Conn     // to read from and write to, with or without TLS
	under        *clientConn
	server       *Server
	in           []byte
	deadlineSet  bool // for the first request
	clientClosed bool // for writing
}

// next reads a request: a plain one, or the headers of another one that net/http is to answer. err comes from the
// network.
func (r *headReader) next() (request plainRequest, how completeness, err error) {
	if r.in == nil {
		r.in = make([]byte, 0, minHeadBuffer)
	}
	searched := 0 // bytes known not to hold the end of the headers
	for {
		if how != other {
			if request, how = readPlain(r.in); how == plain {
				return request, how, nil
			}
			if len(r.in) >= maxPlain {
				how = other
			}
		}
		if r.clientClosed || len(r.in) >= maxHead || !mayBeHead(r.in) || how == other && endsHead(r.in, searched) {
			return request, other, nil
		}
		if how == other {
			searched = len(r.in)
		}
		if err := r.readMore(); err != nil {
			return request, how, err
		}
	}
}

// readMore reads more of a request.
func (r *headReader) readMore() error {
	if !r.deadlineSet {
		r.deadlineSet = true
		r.SetReadDeadline(time.Now().Add(readTime)) // on failure, the read fails too
	}
	if len(r.in) == cap(r.in) {
		r.under.markHeavy(r.server.heavy)
		r.in = append(make([]byte, 0, min(4*cap(r.in), maxHead)), r.in...)
	}
	n, err := r.Read(r.in[len(r.in):cap(r.in)])
	r.in = r.in[:len(r.in)+n]
	switch {
	case n > 0:
		if !r.under.busy.Load() {
			r.awaitNext(true)
		}
		return nil
	case errors.Is(err, io.EOF) && len(r.in) > 0:
		r.clientClosed = true // net/http answers that
		return nil
	}
	return err
}

// discard takes away the first request, which is answered, and gives the client time for the next.
func (r *headReader) discard(size int) {
	r.under.unmarkHeavy()
	rest := r.in[size:]
	if cap(r.in) > minHeadBuffer && len(rest) <= minHeadBuffer {
		r.in = make([]byte, 0, minHeadBuffer)
	}
	r.in = append(r.in[:0], rest...)
	r.awaitNext(len(r.in) > 0)
}

// awaitNext gives the client time for its next request, which has begun or not.
func (r *headReader) awaitNext(begun bool) {
	r.server.setBusy(r.under, begun)
	limit := idleTime
	if begun {
		limit = readTime
	}
	r.SetReadDeadline(time.Now().Add(limit))
}

// mayBeHead reports whether text may be the beginning of a request: of a method.
func mayBeHead(text []byte) bool {
	text = bytes.TrimPrefix(text, emptyLine)
	return len(text) == 0 || text[0]|0x20 >= 'a' && text[0]|0x20 <= 'z' || string(text) == "\r"
}

// endsHead reports whether text has the empty line that ends the headers. The first searched bytes have none.
func endsHead(text []byte, searched int) bool {
	text = text[max(0, searched-len("\n\r\n")):]
	return bytes.Contains(text, []byte("\n\r\n")) || bytes.Contains(text, []byte("\n\n"))
}
