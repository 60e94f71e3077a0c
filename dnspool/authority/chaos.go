package authority

import "github.com/miekg/dns"

// answerChaos answers in class CH, where servers identify themselves (RFC 4892), what is configured.
func (z *zone) answerChaos(resp *dns.Msg, q dns.Question) {
	text := ""
	switch q.Name {
	case "version.bind.", "version.server.":
		text = z.version
	case "id.server.", "hostname.bind.":
		text = z.nsid
	}
	if text == "" {
		resp.Rcode = dns.RcodeRefused
		return
	}
	resp.Authoritative = true
	if q.Qtype == dns.TypeTXT || q.Qtype == dns.TypeANY {
		rr := txt(q.Name, text)
		rr.Hdr.Class = dns.ClassCHAOS
		resp.Answer = []dns.RR{rr}
	}
}
