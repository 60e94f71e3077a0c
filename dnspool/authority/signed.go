package authority

import (
	"time"

	"github.com/miekg/dns"

	"mirrorpool/config/tsig"
)

// maxSignature is how many bytes a TSIG record takes at most: two names, a MAC of 64 bytes and what else there is.
const maxSignature = 2*maxNameSize + 64 + 32

// SetFeed makes the server sign and verify with keys, and hand transfers to feed. It is called before Publish and Run.
func (s *Server) SetFeed(feed *Feed, keys *tsig.Ring) {
	s.feed = feed
	for _, srv := range s.sockets {
		srv.TsigProvider = keys
	}
}

// serveFeed answers requests that are signed, and those for transfers. handled is false for all others.
func (s *Server) serveFeed(w dns.ResponseWriter, req *dns.Msg) (handled bool, rcode int, err error) {
	signature := req.IsTsig()
	switch {
	case signature != nil && s.feed != nil && w.TsigStatus() != nil:
		resp := new(dns.Msg).SetReply(req)
		tsig.Refuse(resp, signature, tsig.ErrorCode(w.TsigStatus()), time.Now())
		return true, resp.Rcode, w.WriteMsg(resp)
	case s.feed.wants(w, req):
		rcode, err = s.feed.serve(w, req)
		return true, rcode, err
	case signature != nil && s.feed != nil:
		rcode, err = s.serveSigned(w, req)
		return true, rcode, err
	}
	return false, 0, nil
}

// serveSigned answers as if the request were not signed, and signs the response.
func (s *Server) serveSigned(w dns.ResponseWriter, req *dns.Msg) (rcode int, err error) {
	from := askerOf(w.RemoteAddr(), time.Now())
	wire, rcode, err := s.respond(req, from)
	if err != nil {
		return rcode, err
	}
	resp := new(dns.Msg)
	if err := resp.Unpack(wire); err != nil {
		return rcode, err
	}
	limit := maxTCPMessage
	if !from.stream {
		limit = dns.MinMsgSize
		if asked, given := req.IsEdns0(), resp.IsEdns0(); asked != nil && given != nil {
			limit = max(limit, min(int(asked.UDPSize()), int(given.UDPSize())))
		}
	}
	resp.Truncate(max(limit-maxSignature, headerSize+maxNameSize))
	resp.Compress = true
	return rcode, writeSigned(w, req, resp)
}

// writeSigned sends resp, signed if req was.
func writeSigned(w dns.ResponseWriter, req, resp *dns.Msg) error {
	if t := req.IsTsig(); t != nil {
		resp.SetTsig(t.Hdr.Name, t.Algorithm, tsig.Fudge, time.Now().Unix())
	}
	return w.WriteMsg(resp)
}
