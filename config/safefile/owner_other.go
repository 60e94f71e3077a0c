//go:build !unix

package safefile

import "io/fs"

const nonblock = 0

// Other systems have no numeric owners; their access lists are left to the administrator.
func owner(fs.FileInfo) int    { return -1 }
func foreign(fs.FileInfo) bool { return false }
