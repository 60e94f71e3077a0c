// Package wire reads and writes the parts of DNS messages that are on the way of every query: names, questions, EDNS
// options and cookies, without allocating.
//
// It looks at messages more closely than miekg/dns, which takes records that are missing and pointers that lead
// forward. It knows no zone, opens no socket and reads no clock.
package wire
