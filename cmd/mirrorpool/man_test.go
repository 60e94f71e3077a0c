package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"mirrorpool/config"
)

// TestManual: each command that is listed has a page with all its options, and each file one with all its keys. Where
// groff is installed, it finds nothing wrong with them.
func TestManual(t *testing.T) {
	folder := t.TempDir()
	root := newRootCommand()
	if err := writeManual(root, folder); err != nil {
		t.Fatal(err)
	}
	has := func(page string, words ...string) {
		text, err := os.ReadFile(filepath.Join(folder, page))
		if err != nil {
			t.Error(err)
			return
		}
		for _, word := range words {
			if !strings.Contains(string(text), escapeRoff(word)) {
				t.Errorf("%s does not have %q", page, word)
			}
		}
	}
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		has("man1/"+pageName(cmd)+".1", cmd.Short, "--help")
		for _, below := range listedCommands(cmd) {
			has("man1/"+pageName(cmd)+".1", pageName(below)+"(1)")
			visit(below)
		}
	}
	visit(root)
	has("man1/mirrorpool-serve.1", "-h, --help", "--config FILE", "mirrorpool serve --config FILE", "mirrorpool(1)")
	has("man1/mirrorpool-wait.1", "--timeout duration", "; default 1h0m0s")
	for name, keys := range map[string][]config.Key{"mirrors": config.MirrorsKeys(), "mirrorpool": config.ServerKeys()} {
		for _, k := range keys {
			has("man5/"+name+".json.5", k.Path, k.Want, k.Meaning)
		}
	}
	if _, err := os.Stat(filepath.Join(folder, "man1", "mirrorpool-man.1")); err == nil {
		t.Error("the hidden command has a page")
	}
	pages, _ := filepath.Glob(filepath.Join(folder, "*", "*"))
	if _, err := exec.LookPath("groff"); err != nil {
		t.Skip("groff is not installed")
	}
	for _, page := range pages {
		out, err := exec.Command("groff", "-man", "-wmac", "-wescape", "-wsyntax", "-Wbreak", "-Tascii", "-z", page).CombinedOutput()
		if err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", page, err, out)
		}
	}
}

// TestManHelp has a heading, a paragraph and a command to copy.
func TestManHelp(t *testing.T) {
	t.Parallel()
	p := new(manPage)
	p.help("All systems:\n\n#### Linux:\n\n\ttool --now\n")
	want := "All systems:\n.PP\n.SS Linux:\n.PP\n.nf\n\ttool \\-\\-now\n.fi\n"
	if got := p.String(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestEscapeRoff: no text is read as a request, and all of it can be copied.
func TestEscapeRoff(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"a-b":          `a\-b`,
		`a\b "c"`:      `a\eb \(dqc\(dq`,
		".so x\n'so x": "\\&.so x\n\\(aqso x",
		"a.b\n c":      "a.b\n c",
		"'~' `a^b`":    `\(aq\(ti\(aq \(gaa\(hab\(ga`,
	} {
		if got := escapeRoff(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
