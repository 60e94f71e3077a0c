package source

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"mirrorpool/testdata/testbed"
)

func TestFileWatch(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(t *testing.T, path, text string){
		"renamed into place": func(t *testing.T, path, text string) { testbed.Put(t, path, text) },
		"written in place": func(t *testing.T, path, text string) {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		},
		"removed and made again": func(t *testing.T, path, text string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			testbed.Put(t, path, text)
		},
		"the folder is replaced": func(t *testing.T, path, text string) {
			folder := filepath.Dir(path)
			if err := os.Rename(folder, folder+".old"); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(folder, 0o755); err != nil {
				t.Fatal(err)
			}
			testbed.Put(t, path, text)
		},
		"the folder is a link that is turned": func(t *testing.T, path, text string) {
			folder := filepath.Dir(path)
			if err := os.Mkdir(folder+".next", 0o755); err != nil {
				t.Fatal(err)
			}
			testbed.Put(t, filepath.Join(folder+".next", "mirrors.json"), text)
			if err := os.Rename(folder, folder+".old"); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(folder+".next", folder); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "etc", "mirrors.json")
			if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			testbed.Put(t, path, poolText("a 1", "b 1"))
			r := newRig(t, Options{Source: path}).start(t)
			results := r.run(t)
			change(t, path, poolText("a 1", "b 1", "c 1"))
			await(t, results, applied)
			r.expect(t, "a 1", "b 1", "c 1")
			testbed.Put(t, path, poolText("a 1", "b 2")) // and the watch goes on
			await(t, results, applied)
			r.expect(t, "a 1", "b 2")
		})
	}
}

// TestFileBehindLinks turns a link as Kubernetes does for its ConfigMaps: mirrors.json -> ..data/mirrors.json,
// and ..data -> a folder of its own for each version.
func TestFileBehindLinks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	version := func(name, text string) {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		testbed.Put(t, filepath.Join(dir, name, "mirrors.json"), text)
		if err := os.Symlink(name, filepath.Join(dir, "..tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	version("..1", poolText("a 1", "b 1"))
	if err := os.Symlink(filepath.Join("..data", "mirrors.json"), filepath.Join(dir, "mirrors.json")); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, Options{Source: filepath.Join(dir, "mirrors.json")}).start(t)
	results := r.run(t)
	version("..2", poolText("a 1", "b 2"))
	await(t, results, applied)
	r.expect(t, "a 1", "b 2")
}

// TestGitPull has the list in a clone of the mirror team's repository.
func TestGitPull(t *testing.T) {
	t.Parallel()
	git := testbed.Need(t, "git", "git")
	dir := t.TempDir()
	run := func(folder string, args ...string) {
		t.Helper()
		cmd := exec.Command(git, args...)
		cmd.Dir = filepath.Join(dir, folder)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
			"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	commit := func(text string) {
		testbed.Put(t, filepath.Join(dir, "team", "mirrors.json"), text)
		run("team", "add", ".")
		run("team", "commit", "-q", "-m", "change")
	}
	run(".", "init", "-q", "-b", "main", "team")
	commit(poolText("a 1", "b 1"))
	run(".", "clone", "-q", "team", "server")
	r := newRig(t, Options{Source: filepath.Join(dir, "server", "mirrors.json")}).start(t)
	results := r.run(t)
	commit(poolText("a 1", "b 0", "c 1"))
	run("server", "pull", "-q", "--ff-only")
	change := await(t, results, applied).Change
	r.expect(t, "a 1", "b 0", "c 1")
	if len(change.Added) != 1 || len(change.Weights) != 1 || change.Weights[0].To != 0 {
		t.Errorf("change %+v", change)
	}
}

// TestHalfWritten writes a list slowly, in two halves. The half is refused, and the whole is taken.
func TestHalfWritten(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "mirrors.json")
	testbed.Put(t, path, poolText("a 1", "b 1"))
	r := newRig(t, Options{Source: path}).start(t)
	results := r.run(t)
	text := poolText("a 1", "b 1", "c 1")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.WriteString(f, text[:len(text)/2]); err != nil {
		t.Fatal(err)
	}
	// It may be seen empty, before.
	await(t, results, func(r Result) bool { return failed(r) && strings.Contains(r.Err.Error(), "mirrors.json:2:") })
	if !strings.Contains(r.Status().Error, "mirrors.json:2:") {
		t.Errorf("the status does not say where: %s", r.Status().Error)
	}
	r.expect(t, "a 1", "b 1")
	if _, err := io.WriteString(f, text[len(text)/2:]); err != nil {
		t.Fatal(err)
	}
	await(t, results, applied)
	r.expect(t, "a 1", "b 1", "c 1")
	if status := r.Status(); status.Error != "" {
		t.Errorf("the error stays: %s", status.Error)
	}
}
