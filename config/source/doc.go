// Package source brings a pool from where it is published into memory, and keeps it there.
//
// A [List] is the pool in force. It reads the list of mirrors from a file or an https URL, checks its
// signature, its contents and what it would take away, and puts it in force only if all is well; otherwise
// the pool that it has stays. What it accepts is saved in state_dir, so that a start needs no network.
//
//	reader.go     what a source is; a list with its signature
//	file.go       a file, and watching it
//	web.go        an https URL
//	signature.go  minisign
//	lastgood.go   the last known good pool on disk
//	list.go       the one path by which a pool comes into force
//	result.go     what came of a look, and how the pool in force came to be
//	judge.go      what is to become of a list that was read
//	schedule.go   when to look again
//	log.go        what is logged of all that
//
// The package does not know who serves the pool. It has no clock and no randomness of its own, and starts
// no goroutine but those that [List.Run] waits for.
package source
