// Mutate changes the code of the rules in one small way after the other, and wants the tests to notice each. It leaves
// the tree alone: each change reaches go test as an overlay.
//
//	go run ./testdata/mutate             all files of the rules
//	go run ./testdata/mutate -run deck   those whose text, as printed, matches
//	go run ./testdata/mutate -sample 50  50 of the changes
//
// What no test notices is printed, and has to stand in accepted.txt with the reason why that is right. The exit code
// is 1 if there is more.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// rules are the files that hold the rules, and those beside whose tests notice nearly all, sooner than all of the
// package do.
var rules = []struct{ file, tests string }{
	{"dnspool/listen/connlimit.go", "dnspool/listen/connlimit_test.go"},
	{"dnspool/build.go", "dnspool/build_test.go"},
	{"dnspool/agree.go", "dnspool/agree_test.go"},
	{"dnspool/elsewhere.go", "dnspool/elsewhere_test.go"},
	{"dnspool/choose.go", "dnspool/choose_test.go"},
	{"dnspool/deck.go", "dnspool/deck_test.go"},
	{"dnspool/deck_lead.go", "dnspool/deck_renew_test.go"},
	{"dnspool/deck_renew.go", "dnspool/deck_renew_test.go"},
	{"dnspool/near.go", "dnspool/choose_test.go"},
	{"dnspool/near_dns.go", "dnspool/near_test.go"},
	{"dnspool/place.go", "dnspool/place_test.go"},
	{"dnspool/prefer.go", "dnspool/prefer_test.go"},
	{"dnspool/shares.go", "dnspool/shares_test.go"},
	{"dnspool/sticky.go", "dnspool/sticky_test.go"},
	{"dnspool/authority/dnssec/abort.go", "dnspool/authority/dnssec/abort_test.go"},
	{"dnspool/authority/dnssec/cache.go", "dnspool/authority/dnssec/cache_test.go"},
	{"dnspool/authority/dnssec/ds.go", "dnspool/authority/dnssec/ds_test.go"},
	{"dnspool/authority/dnssec/hold.go", "dnspool/authority/dnssec/hold_test.go"},
	{"dnspool/authority/dnssec/keyfile.go", "dnspool/authority/dnssec/keyfile_test.go"},
	{"dnspool/authority/dnssec/keys.go", "dnspool/authority/dnssec/keys_test.go"},
	{"dnspool/authority/dnssec/leader.go", "dnspool/authority/dnssec/leader_test.go"},
	{"dnspool/authority/dnssec/memory.go", "dnspool/authority/dnssec/memory_test.go"},
	{"dnspool/authority/dnssec/nsec.go", "dnspool/authority/dnssec/nsec_test.go"},
	{"dnspool/authority/dnssec/offline.go", "dnspool/authority/dnssec/several_keys_test.go"},
	{"dnspool/authority/dnssec/removal.go", "dnspool/authority/dnssec/removal_test.go"},
	{"dnspool/authority/dnssec/rollover.go", "dnspool/authority/dnssec/rollover_test.go"},
	{"dnspool/authority/dnssec/save.go", "dnspool/authority/dnssec/save_linux_test.go"},
	{"dnspool/authority/dnssec/status.go", "dnspool/authority/dnssec/rollover_test.go"},
	{"dnspool/authority/dnssec/replace.go", "dnspool/authority/dnssec/replace_test.go"},
	{"dnspool/authority/dnssec/past.go", "dnspool/authority/dnssec/past_test.go"},
	{"dnspool/publish/sets.go", "dnspool/publish/publish_test.go"},
	{"dnspool/certificates/challenge.go", "dnspool/certificates/challenge_test.go"},
	{"dnspool/certificates/expiry.go", "dnspool/certificates/challenge_test.go"},
	{"dnspool/certificates/tickets.go", "dnspool/certificates/tickets_test.go"},
	{"config/caa.go", "config/caa_test.go"},
	{"health/verdict.go", "health/verdict_test.go"},
	{"health/files/checksums/list.go", "health/files/checksums/list_test.go"},
	{"health/files/verify/findings.go", "health/files/verify/findings_test.go"},
	{"health/files/verify/pieces.go", "health/files/verify/verify_test.go"},
	{"health/files/verify/plan.go", "health/files/verify/plan_test.go"},
	{"health/files/verify/read.go", "health/files/verify/read_test.go"},
	{"health/files/verify/sample.go", "health/files/verify/sample_test.go"},
	{"health/watch/book.go", "health/watch/book_test.go"},
	{"health/watch/notes.go", "health/watch/notes_test.go"},
	{"health/watch/joint.go", "health/watch/joint_test.go"},
	{"health/watch/view.go", "health/watch/book_test.go"},
	{"health/watch/missed.go", "health/watch/missed_test.go"},
	{"health/watch/settle.go", "health/watch/settle_test.go"},
	{"health/watch/saved.go", "health/watch/saved_test.go"},
	{"health/watch/verdicts.go", "health/watch/verdicts_test.go"},
	{"health/freshness.go", "health/freshness_test.go"},
	{"health/majority.go", "health/majority_test.go"},
	{"health/memory.go", "health/memory_test.go"},
	{"health/schedule.go", "health/schedule_test.go"},
	{"health/checker.go", "health/checker_test.go"},
	{"health/mirror.go", "health/checker_test.go"},
	{"health/lookup.go", "health/lookup_test.go"},
	{"health/history.go", "health/history_test.go"},
}

// A mutant is one change: the text from one offset in a file to another is replaced.
type mutant struct {
	file, tests     string // and the file of those that notice nearly all
	function        string
	from, to        int
	new             string
	line            int
	before, changed string // that line
}

func (m *mutant) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s: %s: %s => %s", m.file, m.function, m.before, m.changed))
}

// swaps are operators that are put in place of each other.
var swaps = map[token.Token]string{
	token.LSS: "<=", token.LEQ: "<", token.GTR: ">=", token.GEQ: ">", token.EQL: "!=", token.NEQ: "==",
	token.LAND: "||", token.LOR: "&&", token.ADD: "-", token.SUB: "+", token.MUL: "/", token.QUO: "*",
	token.ADD_ASSIGN: "-=", token.SUB_ASSIGN: "+=", token.INC: "--", token.DEC: "++",
}

// A source is a file of which mutants are made.
type source struct {
	file     string
	tests    string
	text     []byte
	set      *token.FileSet
	function string // at hand
	found    []mutant
}

// mutants returns the changes that can be made to the functions of a file. Constants and tables stay as they are: other
// values are other rules, not mistakes.
func mutants(file, tests string) ([]mutant, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	s := source{file: file, tests: tests, text: text, set: token.NewFileSet()}
	tree, err := parser.ParseFile(s.set, file, text, 0)
	if err != nil {
		return nil, err
	}
	for _, d := range tree.Decls {
		if f, ok := d.(*ast.FuncDecl); ok {
			s.function = f.Name.Name
			ast.Inspect(f, func(n ast.Node) bool { s.change(n); return true })
		}
	}
	return s.found, nil
}

// change adds what can be changed at a node: an operator is another one, a condition always or never holds, a
// statement is missing.
func (s *source) change(n ast.Node) {
	switch n := n.(type) {
	case *ast.BinaryExpr:
		if !isText(n) {
			s.swap(n.OpPos, n.Op)
		}
	case *ast.UnaryExpr:
		if n.Op == token.NOT {
			s.add(n.OpPos, n.OpPos+1, "")
		}
	case *ast.IfStmt:
		s.fix(n.Cond, "false &&")
		s.fix(n.Cond, "true ||")
	case *ast.SwitchStmt:
		if n.Tag == nil {
			for _, c := range n.Body.List {
				for _, condition := range c.(*ast.CaseClause).List {
					s.fix(condition, "false &&")
				}
			}
		}
	case *ast.IncDecStmt:
		s.swap(n.TokPos, n.Tok)
	case *ast.AssignStmt:
		s.swap(n.TokPos, n.Tok)
		if n.Tok != token.DEFINE {
			s.add(n.Pos(), n.End(), "")
		}
	case *ast.BranchStmt:
		s.add(n.Pos(), n.End(), "")
	case *ast.ExprStmt:
		s.add(n.Pos(), n.End(), "")
	case *ast.CallExpr:
		if name, ok := n.Fun.(*ast.Ident); ok && (name.Name == "min" || name.Name == "max") {
			s.add(name.Pos(), name.End(), map[string]string{"min": "max", "max": "min"}[name.Name])
		}
	}
}

// fix adds that a condition has always the same value.
func (s *source) fix(condition ast.Expr, with string) {
	text := s.text[s.set.Position(condition.Pos()).Offset:s.set.Position(condition.End()).Offset]
	s.add(condition.Pos(), condition.End(), fmt.Sprintf("%s (%s)", with, text))
}

func (s *source) swap(pos token.Pos, op token.Token) {
	if other, ok := swaps[op]; ok {
		s.add(pos, pos+token.Pos(len(op.String())), other)
	}
}

// add adds that the text between two positions is replaced.
func (s *source) add(pos, end token.Pos, replacement string) {
	at := s.set.Position(pos)
	m := mutant{file: s.file, tests: s.tests, function: s.function, from: at.Offset, to: s.set.Position(end).Offset,
		new: replacement, line: at.Line}
	begin := bytes.LastIndexByte(s.text[:m.from], '\n') + 1
	line, _, _ := bytes.Cut(s.text[begin:], []byte("\n"))
	rest := line[min(m.to-begin, len(line)):]
	m.before = strings.TrimSpace(string(line))
	m.changed = strings.TrimSpace(string(line[:m.from-begin]) + m.new + string(rest))
	s.found = append(s.found, m)
}

// isText reports whether an addition is one of strings.
func isText(n *ast.BinaryExpr) bool {
	text := false
	ast.Inspect(n, func(n ast.Node) bool {
		lit, ok := n.(*ast.BasicLit)
		text = text || ok && lit.Kind == token.STRING
		return true
	})
	return text && n.Op == token.ADD
}

// verdict is what becomes of a mutant.
type verdict string

const (
	killed   verdict = "killed"
	survived verdict = "survived"
	invalid  verdict = "invalid" // it does not compile
)

// try runs the tests against a mutant. It returns what those print that kill it.
func try(m mutant, limit time.Duration) (v verdict, printed string, err error) {
	dir, err := os.MkdirTemp("", "mutate-")
	if err != nil {
		return "", "", err
	}
	defer os.RemoveAll(dir)
	test := filepath.Join(dir, "test")
	if built, err := build(m, dir, test); err != nil || !built {
		return invalid, "", err
	}
	beside, err := testsOf(m.tests)
	if err != nil {
		return "", "", err
	}
	for _, tests := range []string{beside, "."} {
		// A loop without an end must not take the memory of the machine.
		run := fmt.Sprintf("ulimit -v %d; exec %s -test.short -test.failfast -test.run '%s'", memory, test, tests)
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		cmd := exec.CommandContext(ctx, "sh", "-c", run)
		cmd.Dir, cmd.WaitDelay = filepath.Dir(m.file), time.Second
		out, err := cmd.CombinedOutput()
		cancel()
		if err != nil {
			return killed, string(out), nil // by a failure, or because it does not end
		}
	}
	return survived, "", nil
}

const memory = 4 << 20 // KiB

// build builds the tests of a mutant's package. It returns false if the mutant does not compile.
func build(m mutant, dir, test string) (bool, error) {
	text, err := os.ReadFile(m.file)
	if err != nil {
		return false, err
	}
	original, err := filepath.Abs(m.file)
	if err != nil {
		return false, err
	}
	changed, overlay := filepath.Join(dir, "mutant.go"), filepath.Join(dir, "overlay.json")
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{original: changed}})
	if err != nil {
		return false, err
	}
	err = errors.Join(os.WriteFile(changed, slices.Concat(text[:m.from], []byte(m.new), text[m.to:]), 0o644),
		os.WriteFile(overlay, replace, 0o644))
	if err != nil {
		return false, err
	}
	err = exec.Command("go", "test", "-c", "-vet=off", "-ldflags=-s -w", "-overlay", overlay, "-o", test,
		"./"+filepath.Dir(m.file)).Run()
	return err == nil, nil
}

// testsOf returns a pattern for the tests in a file.
func testsOf(file string) (string, error) {
	tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		return "", err
	}
	var names []string
	for _, d := range tree.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && strings.HasPrefix(f.Name.Name, "Test") {
			names = append(names, f.Name.Name)
		}
	}
	return "^(" + strings.Join(names, "|") + ")$", nil
}

// accepted returns the mutants that may survive.
func accepted(file string) (map[string]bool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			found[line] = true
		}
	}
	return found, nil
}

// choose returns the mutants to try, all or a sample of them. It fails if accepted.txt has others than there are.
func choose(may map[string]bool, only string, sample int, seed string) ([]mutant, error) {
	pattern, err := regexp.Compile(only)
	if err != nil {
		return nil, err
	}
	var chosen []mutant
	stale := maps.Clone(may)
	for _, r := range rules {
		found, err := mutants(r.file, r.tests)
		if err != nil {
			return nil, err
		}
		for _, m := range found {
			delete(stale, m.String())
			if pattern.MatchString(m.String()) {
				chosen = append(chosen, m)
			}
		}
	}
	for m := range stale {
		return nil, fmt.Errorf("accepted.txt has what is no mutant: %s", m)
	}
	if sample > 0 {
		random := rand.New(rand.NewChaCha8(sha256.Sum256([]byte(seed))))
		random.Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
		chosen = chosen[:min(sample, len(chosen))]
		fmt.Printf("%d mutants, drawn with the seed %q\n", len(chosen), seed)
	}
	return chosen, nil
}

func main() {
	only := flag.String("run", "", "only mutants whose text matches this regular expression")
	sample := flag.Int("sample", 0, "only so many mutants, drawn by chance; 0: all")
	seed := flag.String("seed", "", "of that chance")
	limit := flag.Duration("timeout", 2*time.Minute, "how long the tests of one mutant may take")
	workers := flag.Int("workers", runtime.NumCPU(), "how many mutants are tried at a time")
	flag.Parse()
	if err := run(*only, *sample, *seed, *limit, *workers); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func run(only string, sample int, seed string, limit time.Duration, workers int) error {
	may, err := accepted("testdata/mutate/accepted.txt")
	if err != nil {
		return err
	}
	chosen, err := choose(may, only, sample, seed)
	if err != nil {
		return err
	}
	if err := passes(chosen, limit); err != nil {
		return err
	}
	var (
		queue   = make(chan mutant)
		trying  sync.WaitGroup
		mu      sync.Mutex
		failure error
		count   = map[verdict]int{}
		wrong   = 0
	)
	for range workers {
		trying.Go(func() {
			for m := range queue {
				v, _, err := try(m, limit)
				mu.Lock()
				failure = errors.Join(failure, err)
				count[v]++
				if v == survived && !may[m.String()] {
					wrong++
					fmt.Printf("line %d of %s\n", m.line, &m)
				}
				mu.Unlock()
			}
		})
	}
	for _, m := range chosen {
		queue <- m
	}
	close(queue)
	trying.Wait()
	fmt.Printf("%d mutants: %d killed, %d survived, %d of them unexplained, %d do not compile\n", len(chosen), count[killed],
		count[survived], wrong, count[invalid])
	if wrong > 0 {
		failure = errors.Join(failure, fmt.Errorf("%d mutants survive without a reason", wrong))
	}
	return failure
}

// passes has an error if the tests fail without any change, and so would notice nothing.
func passes(chosen []mutant, limit time.Duration) error {
	tried := map[string]bool{}
	for _, m := range chosen {
		if dir := filepath.Dir(m.file); !tried[dir] {
			tried[dir] = true
			v, printed, err := try(mutant{file: m.file, tests: m.tests}, limit)
			if err != nil {
				return err
			}
			if v != survived {
				return fmt.Errorf("%s as it is: %s\n%s", dir, v, printed)
			}
		}
	}
	return nil
}
