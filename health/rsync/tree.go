package rsync

import (
	"context"
	"fmt"
	"net"
	"path"
	"strings"
)

// A Tree says which files to list.
type Tree struct {
	Module string
	Path   string // of the folder inside the module; empty for the module's root

	// Rules are filter rules, such as "+ /a/" or "- *" (rsync(1), "FILTER RULES"). Paths in them begin at Path. A rule
	// for a name that may hold wildcards is made by [Literal]. The daemon applies them, so that nothing else crosses
	// the network.
	Rules []string

	// FollowLinks lists what symbolic links lead to in their place. A daemon may refuse it.
	FollowLinks bool

	MaxEntries, MaxBytes int // that the daemon may send; more is an error
}

// An Entry is a file or folder of a listing.
type Entry struct {
	Path   string // below the tree's path, without a slash before it; "." is the tree itself
	Size   int64  // bytes, not negative; of a folder, of no use
	Time   uint32 // seconds since 1970; see [File.ModTime]
	Folder bool
}

// List asks the daemon at the other end of conn for the regular files and folders of a tree, and calls each with all
// of them, in no order. Other entries are passed over. An error that each returns ends the listing, and is returned as
// it is.
//
// For ctx, conn and other errors, see [Stat]. Paths are as the daemon sends them, and not to be trusted.
func List(ctx context.Context, conn net.Conn, t Tree, each func(Entry) error) error {
	if err := checkModule(t.Module); err != nil {
		return err
	}
	arg := t.Module + "/"
	if t.Path != "" {
		folder, err := checkTarget(t.Module, t.Path)
		if err != nil {
			return err
		}
		arg += folder + "/"
	}
	defer endWith(ctx, conn)()
	s := newSession(ctx, conn, t.MaxBytes)
	var stopped error
	err := s.list(arg, &t, func(e Entry) error {
		stopped = each(e)
		return stopped
	})
	switch {
	case stopped != nil:
		return stopped
	case err != nil:
		return s.explain(err)
	}
	return nil
}

// list holds the conversation of List, in its order on the wire.
func (s *session) list(arg string, t *Tree, each func(Entry) error) error {
	if err := s.greet(offeredVersion); err != nil {
		return err
	}
	if err := s.open(t.Module, offeredVersion); err != nil {
		return err
	}
	options := []string{"-r"}
	if t.FollowLinks {
		options[0] = "-rL"
	}
	if err := s.request(options, arg, t.Rules); err != nil {
		return err
	}
	s.step = "reading the file list"
	listed, err := s.readList(t.MaxEntries, each)
	if err != nil {
		return err
	}
	if listed == 0 { // not even "."
		s.awaitReason()
		return s.noFile()
	}
	s.goodbye()
	return nil
}

// readList reads a file list to its end, and returns how many entries it had.
func (s *session) readList(most int, each func(Entry) error) (listed int, err error) {
	l := lister{r: s.demux, version: s.version}
	for ; ; listed++ {
		e, more, err := l.next()
		switch {
		case err != nil:
			return listed, err
		case !more:
			_, err := readInt(s.demux) // the count of I/O errors: see findEntry
			return listed, err
		case listed == most:
			return listed, fmt.Errorf("%w: it lists more than %d entries", ErrProtocol, most)
		}
		kind := e.mode & modeType
		if kind != modeRegular && kind != modeDirectory {
			continue
		}
		if err := each(Entry{e.name, e.size, e.mtime, kind == modeDirectory}); err != nil {
			return listed, err
		}
	}
}

// Only returns the rules that list some files below a tree's own path, and the files that are directly in some folders,
// and no other file. The tree's own folder is "".
func Only(files, folders []string) []string {
	var rules []string
	seen := map[string]bool{}
	above := func(name string) {
		for i := range len(name) {
			if folder := name[:i]; i > 0 && name[i] == '/' && !seen[folder] {
				seen[folder] = true
				rules = append(rules, "+ /"+Literal(folder)+"/")
			}
		}
	}
	for _, file := range files {
		above(file)
		rules = append(rules, "+ /"+Literal(path.Clean(file)))
	}
	for _, folder := range folders {
		above(folder + "/")
	}
	for _, folder := range folders { // the first rule that matches decides
		in := "/"
		if folder != "" {
			in = "/" + escaped(folder) + "/"
		}
		rules = append(rules, "- "+in+"*/", "+ "+in+"*")
	}
	return append(rules, "- *")
}

// Literal returns a name so that a filter rule matches it alone. Without a wildcard, a rule has no escapes (exclude.c,
// rule_matches).
func Literal(name string) string {
	if !strings.ContainsAny(name, "*?[") {
		return name
	}
	return escaped(name)
}

// escaped returns a name so that it stands for itself in a rule with wildcards.
func escaped(name string) string {
	return strings.NewReplacer("*", `\*`, "?", `\?`, "[", `\[`, `\`, `\\`).Replace(name)
}
