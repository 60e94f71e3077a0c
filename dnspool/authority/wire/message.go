package wire

import "github.com/miekg/dns"

// MaxSignature is how many bytes a TSIG record takes at most: two names, a MAC of 64 bytes and what else there is.
const MaxSignature = 2*MaxNameSize + 64 + 32

// Reply returns a response with a code and without records. It does not copy CD, which is for resolvers (RFC 4035
// section 3.1.6).
func Reply(req *dns.Msg, rcode int) *dns.Msg {
	resp := new(dns.Msg).SetRcode(req, rcode)
	resp.CheckingDisabled = false
	return resp
}
