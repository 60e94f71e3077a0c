// Package files knows which mirror carries which file.
//
// The [Universe] is what the origin publishes: a hash, a size and a time for each path, and no names. A [Row] says
// which of these files one mirror has, in a bit for each. Rows come from listings of the mirrors' rsync daemons. What
// no row vouches for is asked of the mirrors on demand. A [Catalog] joins all that, and answers for a path which
// mirrors carry it.
//
// The package opens no socket: its user brings the functions that list, ask and read.
//
//	catalog.go    the mirrors, settings and all that is known of files
//	run.go        when to read the origin and to list mirrors, and the goroutines
//	plan.go       when one mirror is listed next
//	demand.go     the folders that clients ask for, which are listed in between in large trees
//	collector.go  a listing, as it comes in
//	row.go        from a listing to the files that a mirror has
//	together.go   the files that mirrors list together, where no origin is known
//	compare.go    what a mirror lacks, by one listing and without a catalog: for mirrorpool probe
//	universe.go   the files of the origin, and what a new listing of it changes
//	folder.go     an origin that is a folder
//	sumlist.go    an origin that is a list of checksums
//	carriers.go   which mirrors carry a file
//	table.go      what is known at a moment, so that it is found fast
//	demand.go     the folders that clients ask for
//	ask.go        questions to mirrors, on demand and to sample
//	askorigin.go  questions to the origin about single paths
//	budget.go     how often a host is asked
//	answers.go    what they answered, and for how long that counts
//	copies.go     each mirror's copy of a file, and what a mirror lacks, for people
//	view.go       the newest release, and which mirrors are behind
//	path.go       paths, and patterns of them
//	state.go      what outlives a restart
package files
