package rsync

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// bigTree allows what no test's tree has.
const bigTree = 1 << 24

// listTree returns the paths of the files that a daemon lists, sorted, each with its size.
func listTree(t *testing.T, d *daemon, tree Tree) (files []string, err error) {
	t.Helper()
	if tree.MaxEntries == 0 {
		tree.MaxEntries = bigTree
	}
	if tree.MaxBytes == 0 {
		tree.MaxBytes = bigTree
	}
	err = List(within(t, 20*time.Second), dial(t, d.addr), tree, func(e Entry) error {
		if !e.Folder {
			files = append(files, fmt.Sprintf("%s %d", e.Path, e.Size))
		}
		return nil
	})
	slices.Sort(files)
	return files, err
}

// addTree puts files, links and odd names into the tree that the modules serve.
func addTree(t *testing.T, d *daemon) {
	t.Helper()
	for _, name := range []string{"top", "a/one", "a/two", "a/b/three", "odd[1]*/we?rd", "odd1/weird", "latin\xe9", `back\slash/file`} {
		d.add(t, name, name, traceTime)
	}
	for name, target := range map[string]string{"link": "a/one", "a/latest": "b", "dangling": "nowhere"} {
		if err := os.Symlink(target, filepath.Join(d.root, name)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, "")
	addTree(t, d)
	plain := []string{"a/b/three 9", "a/one 5", "a/two 5", `back\slash/file 15`, "latin\xe9 6", "odd1/weird 10", "odd[1]*/we?rd 13", "top 3"}
	followed := append([]string{"a/latest/three 9", "link 5"}, plain...)
	slices.Sort(followed)
	for name, test := range map[string]struct {
		tree Tree
		want []string
	}{
		"whole":          {Tree{}, plain},
		"links followed": {Tree{FollowLinks: true}, followed},
		"folder":         {Tree{Path: "a"}, []string{"b/three 9", "one 5", "two 5"}},
		"some files": {
			Tree{Rules: Only([]string{"a/b/three", "a/two", "odd[1]*/we?rd", "absent/file"}, nil)},
			[]string{"a/b/three 9", "a/two 5", "odd[1]*/we?rd 13"},
		},
		"folders": {
			Tree{Rules: Only([]string{"absent/file"}, []string{"a", `odd[1]*`, "absent", `back\slash`})},
			[]string{"a/one 5", "a/two 5", `back\slash/file 15`, "odd[1]*/we?rd 13"},
		},
		"folder and file below": {Tree{Rules: Only([]string{"a/b/three"}, []string{"a"})}, []string{"a/b/three 9", "a/one 5", "a/two 5"}},
		"top":                   {Tree{Rules: Only(nil, []string{""})}, []string{"latin\xe9 6", "top 3"}},
	} {
		test.tree.Module = "tails"
		if got, err := listTree(t, d, test.tree); err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, %v, want %q", name, got, err, test.want)
		}
	}
}

func TestListFails(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, "")
	addTree(t, d)
	for name, test := range map[string]struct {
		tree Tree
		want error
	}{
		"too many entries":  {Tree{Module: "tails", MaxEntries: 3}, ErrProtocol},
		"too many bytes":    {Tree{Module: "tails", MaxBytes: 200}, ErrProtocol},
		"no such module":    {Tree{Module: "nothing"}, ErrUnknownModule},
		"no such folder":    {Tree{Module: "tails", Path: "nothing"}, ErrNoFile},
		"climbing":          {Tree{Module: "tails", Path: "a/../.."}, ErrTarget},
		"refused options":   {Tree{Module: "picky"}, ErrRefused},
		"refused addresses": {Tree{Module: "denied"}, ErrRefused},
	} {
		if _, err := listTree(t, d, test.tree); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
	stop := errors.New("enough")
	err := List(within(t, 20*time.Second), dial(t, d.addr), Tree{Module: "tails", MaxEntries: bigTree, MaxBytes: bigTree},
		func(Entry) error { return stop })
	if !errors.Is(err, stop) {
		t.Errorf("%v, want what the function returned", err)
	}
}

func TestLiteral(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"plain": "plain", `back\slash`: `back\slash`, "st*r": `st\*r`, `a\[b]?`: `a\\\[b]\?`,
	} {
		if got := Literal(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
	if got := strings.Join(Only([]string{"a/b/c", "a/d"}, []string{"", "a/b"}), "|"); got != "+ /a/|+ /a/b/|+ /a/b/c|+ /a/d|- /*/|+ /*|- /a/b/*/|+ /a/b/*|- *" {
		t.Errorf("rules %s", got)
	}
}
