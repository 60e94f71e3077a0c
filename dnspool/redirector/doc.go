// Package redirector is the HTTP face of the pool: it sends each request for a file on to a mirror that has
// it, picked from the snapshot in force.
//
// Over HTTP/1.1, requests for a file with a plain path and common headers are answered without net/http. Connections
// with any other request are handed over to it.
//
// It decides nothing about mirrors and reads no request bodies. Which mirrors carry a file it learns from a
// [files.Catalog], if it has one. It logs no requests.
//
//	server.go        the listeners, timeouts and shutdown
//	plainserver.go   HTTP/1.1 connections that are answered without net/http
//	headreader.go    the bytes of such a connection, one request head at a time
//	fast.go          whether a request is plain, and the answer to it
//	redirector.go    any request: its route, and the redirect
//	path.go          which paths are files, and how they are cleaned
//	query.go         the query: ?mirrorlist and the like
//	files.go         for a file: which mirrors may be sent to
//	askorder.go      which mirrors are asked for a file, one after the other
//	filestatus.go    which mirrors carry a file, for people
//	checksum.go      checksums of files, and which files no mirror serves
//	filesize.go      the size of a file, for Metalinks
//	mirrorlist.go    ?mirrorlist
//	metalink.go      Metalinks
//	downloads.go     how a redirect is counted as a download, or not
//	publicstats.go   ?mirrorstats
//	legacy.go        /mirrors.json, for clients that choose by themselves
//	explain.go       why a client is sent where it is
//	builtin.go       /mirrors.json, /robots.txt and the icon
//	wellknown.go     files below /.well-known/
//	pages.go         how many costly pages are made at once
//	client.go        the client's address, behind trusted proxies too
//	forwarded.go     the Forwarded header (RFC 7239)
//	tls.go           how TLS is spoken, and where http leads to https; certificates are from package certificates
//	connections.go   how many connections are open, in all and from a network
//	deadline.go      deadlines that are set less often
//	metrics.go       counters of redirects and answers
package redirector
