// Package config reads what people write: mirrors.json, the pool, and mirrorpool.json, the server.
//
// It turns bytes into checked, typed values ([Pool], [Server]), or into errors that say where the
// fault is, what it is, and what would be right ([Error]). All faults of a file are reported at once.
// A file goes through four steps:
//
//	document.go  bytes to a tree of values that know where they stand (JSON, strictly); node.go
//	schema.go    the tree against the JSON Schema that is also published to editors
//	explain.go   the schema's complaints, in words for the person who must act; errors.go, suggest.go
//	*_parse.go   rules that a schema cannot say; the typed value (pool.go, server.go)
//
// The rules on single values are in syntax.go (names, addresses, URLs), fields.go, server_dns.go, server_http.go,
// server_health.go, server_files.go, server_mail.go, server_acme.go, server_watch.go, caa.go, collision.go, absent.go
// and public.go. load.go reads files, keys.go makes the tables of keys for the documents, and printable.go makes
// foreign text safe to print.
//
// What is allowed, but seldom meant, is a warning (warnings.go). For what becomes of a file that changes there are
// pure functions: [Compare] tells two pools apart (change.go), [Guard] says whether one may replace the other unasked
// (guard.go), and [MergeLive] what of a new server configuration can come into force without a restart (settings.go).
// Package source, below this one, fetches pools and watches them.
//
// config imports nothing of ours but safefile. It must not know whether a mirror is healthy, where it stands, which
// client asks for it, or what is served: it opens the given file, and no socket. It keeps no
// state, starts no goroutine, and reads no clock.
package config
