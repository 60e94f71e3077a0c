// Package files knows which mirror carries which file.
//
// The [Universe] is what the origin publishes: a hash, a size and a time for each path, and no names. A [Row] says which of
// these files one mirror has, in a bit for each. Rows come from listings of the mirrors' rsync daemons. What no row vouches
// for is asked of the mirrors on demand. A [Catalog] joins all that, and answers for a path which mirrors carry it.
//
// The package opens no socket: its user brings the functions that list, ask and read.
package files
