// Package stats counts downloads by day, and by path, mirror and country, without anything of the clients.
//
// A download is a redirect to a mirror for a GET without a range, or with one that begins at the first byte. HEAD
// requests, later ranges (segments, and downloads that are resumed or tried again) and conditional requests are counted
// apart, by day alone. The three tables of a day are counted apart from each other, so that no row joins a path and a
// country.
//
//	counter.go   the day that goes on, in the way of requests
//	day.go       days that have ended
//	history.go   all days, and the files in which they are kept
//	report.go    sums over days
//
// No address, network or agent of a client, nor a hash of one, comes into the package. Countries with fewer than
// MinCountry downloads in a day are counted together.
package stats
