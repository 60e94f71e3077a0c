// Package certificates provides certificates for the HTTP redirector, from files or by ACME (RFC 8555), and the keys of
// its session tickets.
//
// Package certmagic decides when a certificate is renewed (ARI, RFC 9773, or else when two thirds of its time are
// over), tries again with growing pauses, and staples OCSP responses. Which challenges are tried for a name, and how
// they are answered, is decided here: certmagic would open listeners of its own, keep challenges in global variables,
// and log addresses of clients.
//
//	source.go        where certificates come from: files, ACME or both
//	files.go         a certificate in files, read again when they change
//	fixed.go         one that never changes
//	acme.go          certificates by ACME: which one a client gets, and their state
//	manage.go        the configuration in force, and certmagic's form of it
//	magiclog.go      what certmagic logs
//	obtain.go        obtaining and renewing them
//	saved.go         those in state_dir: of former authorities, damaged ones, and their modes
//	saving.go        how a new certificate replaces a saved one
//	issuer.go        an order at an authority
//	response.go      how much of its responses is read
//	lock_unix.go     a lock that ends with its process; lock_other.go for systems without
//	storage.go       files and locks in state_dir, shared with other copies of the program
//	stale.go         what certificates of the past have left there
//	copies.go        other copies of the program, beside which no order is made that needs our zone alone
//	writable.go      whether state_dir takes what an authority issues
//	tries.go         how many validations may fail in an hour
//	account.go       the account there
//	challenge.go     which challenges are tried for a name, and where none can work
//	answers.go       the answers to pending challenges
//	txt.go           TXT records at other servers, noted until they are removed
//	shared.go        the same of other copies of the program
//	expiry.go        certificates that are missing or overdue
//	tickets.go       keys of session tickets, shared with other copies of the program
//
// It opens no listener, and knows nothing of mirrors.
package certificates
