package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestHouse holds the rules of the house: what lies at the top, that each package says what it is for, and that
// imports point one way: config <- health <- dnspool <- its faces <- cmd, and no face imports another. In cmd, the
// commands import the rooms in internal, and those import term. Sockets that reach mirrors are opened in health/probe
// alone, which the rules in health and dnspool must not import.
func TestHouse(t *testing.T) {
	t.Parallel()
	const top = "../.."
	entries, err := os.ReadDir(top)
	if err != nil {
		t.Fatal(err)
	}
	ignored, err := os.ReadFile(filepath.Join(top, ".gitignore")) // what README.md has people make there
	if err != nil {
		t.Fatal(err)
	}
	fixed := strings.Fields("cmd dnspool health config testdata go.mod go.sum Dockerfile README.md")
	for _, e := range entries {
		if name := e.Name(); !strings.HasPrefix(name, ".") && !slices.Contains(fixed, name) &&
			!slices.Contains(strings.Fields(string(ignored)), "/"+name) {
			t.Errorf("%s does not belong at the top", name)
		}
	}
	list := exec.Command("go", "list", "-f", `{{.ImportPath}}|{{.Doc}}|{{join .Imports " "}}`, "./...")
	list.Dir = top
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		parts := strings.Split(strings.TrimSpace(line), "|")
		if len(parts) != 3 || parts[1] == "" {
			t.Errorf("%s has no package comment", parts[0])
			continue
		}
		for _, imported := range strings.Fields(parts[2]) {
			if strings.HasPrefix(imported, "mirrorpool/") && !mayImport(parts[0], imported) {
				t.Errorf("%s must not import %s", parts[0], imported)
			}
		}
	}
}

// TestPackageFiles has the comment of each larger package name its files, so that a reader finds a rule by reading one
// page.
func TestPackageFiles(t *testing.T) {
	t.Parallel()
	const small = 8 // files; so many names need no guide
	list := exec.Command("go", "list", "-f", `{{.ImportPath}}|{{join .GoFiles " "}} {{join .IgnoredGoFiles " "}}`, "./...")
	list.Dir = "../.."
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		path, names, _ := strings.Cut(strings.TrimSpace(line), "|")
		files := strings.Fields(names)
		if path == "mirrorpool/cmd/mirrorpool" || len(files) <= small { // there, a command is in the file of its name
			continue
		}
		dir := filepath.Join("../..", strings.TrimPrefix(path, "mirrorpool/"))
		named := regexp.MustCompile(`[\w*]+\.go`).FindAllString(packageComment(t, dir, files), -1) // share_*.go for some
		for _, name := range files {
			if name != "doc.go" && !strings.HasSuffix(name, "_test.go") && !slices.ContainsFunc(named, func(pattern string) bool {
				ok, err := filepath.Match(pattern, name)
				return ok && err == nil
			}) {
				t.Errorf("the comment of package %s does not name %s", path, name)
			}
		}
	}
}

// packageComment returns the comment of the package that consists of files in a folder.
func packageComment(t *testing.T, dir string, files []string) string {
	t.Helper()
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, name), nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		if file.Doc != nil {
			return file.Doc.Text()
		}
	}
	return ""
}

// mayImport reports whether an import points the right way. A package may import those of the floors below its own, and
// parts of itself.
func mayImport(from, to string) bool {
	floor := func(path string) int {
		switch parts := strings.Split(path, "/"); {
		case path == "mirrorpool/config/safefile", path == "mirrorpool/config/failure": // know nothing of ours
			return -2
		case path == "mirrorpool/config/statefile": // knows nothing of mirrors
			return -1
		case parts[1] == "config":
			return 0
		case path == "mirrorpool/health/rsync": // knows nothing of mirrors
			return -1
		case path == "mirrorpool/health/files/checksums": // likewise
			return 0
		case path == "mirrorpool/health", path == "mirrorpool/health/ledger", strings.HasPrefix(path, "mirrorpool/health/files"): // open no socket
			return 1
		case parts[1] == "health":
			return 2
		case path == "mirrorpool/dnspool/listen", path == "mirrorpool/dnspool/tsig", path == "mirrorpool/dnspool/authority/wire",
			path == "mirrorpool/dnspool/certificates":
			return 1 // know no mirrors
		case path == "mirrorpool/dnspool/authority/dnssec": // knows no mirrors
			return 2
		case path == "mirrorpool/dnspool", path == "mirrorpool/dnspool/geo", path == "mirrorpool/dnspool/mail", path == "mirrorpool/dnspool/stats":
			return 2
		case parts[1] == "dnspool":
			return 3
		case path == "mirrorpool/cmd/mirrorpool/internal/term":
			return 4
		case path == "mirrorpool/cmd/mirrorpool/internal/demo": // runs a daemon
			return 6
		case strings.HasPrefix(path, "mirrorpool/cmd/mirrorpool/internal/"): // the daemon, the sweep, the checks of files
			return 5
		default:
			return 7
		}
	}
	return floor(to) < floor(from) || strings.HasPrefix(to, from+"/") || strings.HasPrefix(from, to+"/")
}

// TestCorpora wants each fuzz target to begin with inputs that are of interest, where go test and OSS-Fuzz look for
// them.
func TestCorpora(t *testing.T) {
	t.Parallel()
	target := regexp.MustCompile(`(?m)^func (Fuzz[A-Z]\w*)\(`)
	targets := 0
	err := filepath.WalkDir("../..", func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, found := range target.FindAllStringSubmatch(string(text), -1) {
			targets++
			corpus := filepath.Join(filepath.Dir(path), "testdata", "fuzz", found[1])
			if entries, err := os.ReadDir(corpus); err != nil || len(entries) < 3 {
				t.Errorf("%s has %d inputs: %v", corpus, len(entries), err)
			}
		}
		return err
	})
	if err != nil || targets == 0 {
		t.Errorf("%d targets: %v", targets, err)
	}
}

// TestLinks looks for a file and a heading at each link from one README.md to another.
func TestLinks(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)#:]*)(#[^)]*)?\)`)
	found := 0
	for _, from := range readmes(t) {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range link.FindAllStringSubmatch(string(text), -1) {
			found++
			to := filepath.Join(filepath.Dir(from), match[1])
			if match[1] == "" {
				to = from
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s: %v", from, err)
			} else if match[2] != "" && !slices.Contains(anchors(t, to), match[2]) {
				t.Errorf("%s: %s has no heading %s", from, to, match[2])
			}
		}
	}
	if found < 10 {
		t.Errorf("%d links, want more", found)
	}
}

// TestFlow looks for each function that dnspool/README.md names on the way of a list or a packet, in the file that it
// names.
func TestFlow(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../dnspool/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, flow, _ := strings.Cut(string(text), "## How it flows\n")
	flow, _, _ = strings.Cut(flow, "\n## ")
	found := 0
	for _, match := range regexp.MustCompile("`([a-z0-9/_]+[.]go)`: `([A-Za-z]+)`").FindAllStringSubmatch(flow, -1) {
		found++
		code, err := os.ReadFile(filepath.Join("../..", match[1]))
		if err != nil {
			t.Error(err)
		} else if !regexp.MustCompile(`(?m)^func (\([^)]*\) )?` + match[2] + `\(`).Match(code) {
			t.Errorf("%s has no function %s", match[1], match[2])
		}
	}
	if found < 10 {
		t.Errorf("%d functions, want more", found)
	}
}

// readmes returns the paths of all README.md.
func readmes(t *testing.T) (paths []string) {
	t.Helper()
	err := filepath.WalkDir("../..", func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Name() == "README.md" {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// anchors returns the names that links to the headings of a file have.
func anchors(t *testing.T, path string) (names []string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	other := regexp.MustCompile(`[^a-z0-9 -]`)
	for line := range strings.Lines(string(text)) {
		if level, heading, _ := strings.Cut(strings.TrimSpace(line), " "); level != "" && strings.Trim(level, "#") == "" {
			names = append(names, "#"+strings.ReplaceAll(other.ReplaceAllString(strings.ToLower(heading), ""), " ", "-"))
		}
	}
	return names
}

// TestWords keeps out of code and documents the words that say less than the noun they stand for, and comments in lines
// longer than 120 characters.
func TestWords(t *testing.T) {
	t.Parallel()
	vague := regexp.MustCompile(`(?i)\b(nobody|somebody|anybody|everybody|whoever)\b|(^|// |[.] |")Who\b|\bhas to say\b|\bis told\b`)
	err := filepath.WalkDir("../..", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			if err == nil && e.Name() == ".git" {
				return filepath.SkipDir
			}
			return err
		}
		if strings.HasSuffix(path, "house_test.go") || !slices.Contains([]string{".go", ".md", ".html", ".yml"}, filepath.Ext(path)) {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		number := 0
		for line := range strings.Lines(string(text)) {
			number++
			line = strings.ReplaceAll(line, `nobody"`, "") // a user
			if found := vague.FindString(line); found != "" {
				t.Errorf("%s:%d: %q", path, number, found)
			}
			comment := filepath.Ext(path) == ".go" && strings.HasPrefix(strings.TrimSpace(line), "//")
			if comment && utf8.RuneCountInString(strings.TrimRight(line, "\n")) > 120 {
				t.Errorf("%s:%d: a comment of more than 120 characters in a line", path, number)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
