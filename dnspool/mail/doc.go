// Package mail writes to the mirror team, and to the operators of mirrors, about mirrors in trouble.
//
// A mirror is in trouble while it has an incident (see [ledger.Incident]) in which it is down, stale or without files
// of the release. The team gets a mail once that has lasted for mail.after, the mirror's operators after twice that,
// and both one more when it is over: one thread. A mirror begins at most one thread a day. A certificate that ends in
// 14, 7 and 2 days is mailed by itself, as is one of the redirector's own. The rest is in the daily digest. Nothing is
// sent while this host may be the fault, while the pool is in panic, or about a mirror that a person has drained.
//
//	plan.go      what to send now: the rules
//	certificates.go  mails about the redirector's own certificates
//	text.go      what the mails say
//	mailer.go    when the plan is made, and the queue
//	queue.go     what waits to be sent, what follows from a failure, and how it is saved
//	sender.go    SMTP
//
// The rules have no clock and open no socket. No mail has anything of a client in it.
package mail
