package redirector

import (
	"bytes"
	"errors"
	"io"
	"net"
	"time"
)

const (
	minHeadBuffer = 1 << 10                // bytes that a connection holds, unless its request is longer
	maxPlain      = 4 << 10                // bytes of a plain request
	maxHead       = maxHeaderBytes + 5<<10 // bytes with which net/http sees that a request is too long
)

// A headReader collects the requests on a connection as they come in.
type headReader struct {
	net.Conn // to read from and write to, with or without TLS
	under    *crowdConn
	server   *Server
	in       []byte
	asked    bool // a deadline is set for the first request
	cut      bool // the client has ended its side
}

// next waits for a request: for one that is plain, or for the whole of another one, as far as net/http cares for it. err
// is that of the network.
func (r *headReader) next() (request plainRequest, how completeness, err error) {
	if r.in == nil {
		r.in = make([]byte, 0, minHeadBuffer)
	}
	searched := 0 // bytes in which no request ends
	for {
		if how != other {
			if request, how = readPlain(r.in); how == plain {
				return request, how, nil
			}
			if len(r.in) >= maxPlain {
				how = other
			}
		}
		if r.cut || len(r.in) >= maxHead || !mayBeHead(r.in) || how == other && endsHead(r.in, searched) {
			return request, other, nil
		}
		if how == other {
			searched = len(r.in)
		}
		if err := r.more(); err != nil {
			return request, how, err
		}
	}
}

// more reads more of a request.
func (r *headReader) more() error {
	if !r.asked {
		r.asked = true
		r.SetReadDeadline(time.Now().Add(readTime)) // if it fails, so will the read
	}
	if len(r.in) == cap(r.in) {
		r.under.enter(r.server.costly)
		r.in = append(make([]byte, 0, min(4*cap(r.in), maxHead)), r.in...)
	}
	n, err := r.Read(r.in[len(r.in):cap(r.in)])
	r.in = r.in[:len(r.in)+n]
	switch {
	case n > 0:
		if !r.under.busy.Load() {
			r.expect(true)
		}
		return nil
	case errors.Is(err, io.EOF) && len(r.in) > 0:
		r.cut = true // net/http tells the client
		return nil
	}
	return err
}

// drop takes away the first request, which is answered, and gives the client time for the next.
func (r *headReader) drop(size int) {
	r.under.cheapen()
	rest := r.in[size:]
	if cap(r.in) > minHeadBuffer && len(rest) <= minHeadBuffer {
		r.in = make([]byte, 0, minHeadBuffer)
	}
	r.in = append(r.in[:0], rest...)
	r.expect(len(r.in) > 0)
}

// expect gives the client time for its next request, which has begun or not.
func (r *headReader) expect(begun bool) {
	r.server.setBusy(r.under, begun)
	limit := idleTime
	if begun {
		limit = readTime
	}
	r.SetReadDeadline(time.Now().Add(limit))
}

// mayBeHead reports whether a request may begin like this: with a method.
func mayBeHead(text []byte) bool {
	text = bytes.TrimPrefix(text, emptyLine)
	return len(text) == 0 || text[0]|0x20 >= 'a' && text[0]|0x20 <= 'z' || string(text) == "\r"
}

// endsHead reports whether there is the empty line with which a request's headers end, and not only in the first bytes.
func endsHead(text []byte, searched int) bool {
	text = text[max(0, searched-len("\n\r\n")):]
	return bytes.Contains(text, []byte("\n\r\n")) || bytes.Contains(text, []byte("\n\n"))
}
