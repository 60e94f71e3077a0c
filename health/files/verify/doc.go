// Package verify reads mirrors' copies of files, and finds those with wrong bytes.
//
// Each mirror's copy of each file whose checksum is known is read as a whole, at a low rate, and in between some
// ranges of it are compared with the origin. A copy is corrupt if a whole read that arrived complete has another
// checksum, and a second read of the place in question is as wrong. A read that breaks off proves nothing, and
// neither does a checksum that no copy has matched: the list that it comes from may be wrong.
//
// A mirror does not serve a file of which it has a corrupt copy. With three of them, or one of the newest release, it
// serves nothing until all its files have been read again without a fault, or a person has pardoned it.
//
// The package opens no socket: its user brings the functions that read from mirrors and from the origin.
//
//	verifier.go  the mirrors, and all that is known of their copies
//	run.go       which reads are due, and the goroutines
//	plan.go      which file of a mirror is read next
//	read.go      one whole read, and what it proves
//	pieces.go    checksums of the pieces of a file, by which a wrong place is found
//	sample.go    ranges that are compared with the origin
//	pace.go      how fast a mirror is read, and how fast it sends
//	findings.go  corrupt copies, and what follows
//	lapsed.go    what was found of files that are gone, and may come back
//	evidence.go  what is kept of a proof, for people
//	state.go     what outlives a restart
package verify
