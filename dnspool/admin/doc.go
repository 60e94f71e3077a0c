// Package admin serves the administrator over HTTP: the status page, the status as JSON, metrics, explain and reload.
//
// It decides nothing about mirrors. It is not for the public: without a token it answers clients on this host only.
//
//	server.go      the listener, and which path is answered by what
//	guard.go       which requests are from the administrator: the token, or this host
//	reload.go      POST /api/v1/reload
//	override.go    POST and DELETE /api/v1/drain
//	explain.go     GET /api/v1/explain
//	status.go      the status as data, and how it is collected
//	works.go       how many of a mirror's endpoints work
//	condition.go   the one word for how a mirror is
//	downloads.go   GET /api/v1/stats, and the chart of downloads
//	mail.go        POST /api/v1/mail/test
//	dnssec.go      GET /api/v1/dnssec and POST and DELETE /api/v1/dnssec/rollover
//	ledger.go      GET /api/v1/ledger, and what the status says of half a year
//	certificates.go  the redirector's certificates
//	shares.go      each mirror's share of redirects and DNS answers
//	verification.go  what the status says of the bytes of mirrors' files
//	watch.go       the group of watchers
//	watchtable.go  the table of mirrors by watcher on the page
//	files.go       what the status says of files and releases
//	metrics.go     the status as Prometheus metrics, whose families are in families.go
//	events.go      counters of probes and reloads
//	page.go        the status page: its sections and what it shows
//	mirrorrow.go   a mirror's row of the page
//	problems.go    the page's list of problems, the worst first
//	strip.go       a mirror's history, drawn as a strip
//	markers.go     the mirrors on the world map
//	worldmap.go    the map itself
//	age.go         ages and dates in words
package admin
