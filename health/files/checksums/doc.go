// Package checksums knows the checksums of the origin's files.
//
// They come from what the origin publishes: lists such as SHA256SUMS, and files such as x.img.sha256. Where the origin
// is a folder, files without one are hashed, at a bounded rate, once for each path, size and time. Clients get them
// with a redirect, and mirrors' copies are verified by them.
//
// The package opens no socket: its user brings the function that opens a file of the origin.
//
//	sum.go    a checksum, in its forms
//	list.go   lists of checksums, and which files are such lists
//	store.go  the files, and the checksums that are known
//	run.go    reading lists and hashing files
//	state.go  what outlives a restart
package checksums
