// Mutate changes the code of the rules in one small way after the other, and wants the tests to notice each. It leaves
// the tree alone: go test is told of each change by an overlay.
//
//	go run ./testdata/mutate             all files of the rules
//	go run ./testdata/mutate -run deck   those whose name has it
//
// What no test notices is printed, and has to stand in accepted.txt with the reason why that is right. The exit code is 1
// if there is more.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// rules are the files that hold the rules.
var rules = []string{
	"dnspool/build.go", "dnspool/choose.go", "dnspool/deck.go", "dnspool/near.go", "dnspool/sticky.go",
	"health/verdict.go", "health/freshness.go",
}

// A mutant is one change: the text from one offset in a file to another is replaced.
type mutant struct {
	file      string
	line      int
	from, to  int
	old, new  string
	statement string // the line, as it is
}

func (m *mutant) String() string {
	return fmt.Sprintf("%s: %s: %s -> %s", m.file, m.statement, m.old, m.new)
}

// swaps are operators that are put in place of each other.
var swaps = map[token.Token]string{
	token.LSS: "<=", token.LEQ: "<", token.GTR: ">=", token.GEQ: ">", token.EQL: "!=", token.NEQ: "==",
	token.LAND: "||", token.LOR: "&&", token.ADD: "-", token.SUB: "+", token.MUL: "/", token.QUO: "*",
}

// mutants returns the changes that can be made to a file.
func mutants(file string) ([]mutant, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, file, text, 0)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(string(text), "\n")
	var found []mutant
	add := func(pos, end token.Pos, replacement string) {
		at := set.Position(pos)
		m := mutant{file: file, line: at.Line, from: at.Offset, to: set.Position(end).Offset, new: replacement, statement: strings.TrimSpace(lines[at.Line-1])}
		m.old = string(text[m.from:m.to])
		found = append(found, m)
	}
	ast.Inspect(tree, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GenDecl:
			return n.Tok != token.CONST && n.Tok != token.IMPORT // other values are other rules, not mistakes
		case *ast.BinaryExpr:
			if op, ok := swaps[n.Op]; ok && !isText(n) {
				add(n.OpPos, n.OpPos+token.Pos(len(n.Op.String())), op)
			}
		case *ast.UnaryExpr:
			if n.Op == token.NOT {
				add(n.OpPos, n.OpPos+1, "")
			}
		case *ast.IfStmt:
			add(n.Cond.Pos(), n.Cond.End(), "!("+string(text[set.Position(n.Cond.Pos()).Offset:set.Position(n.Cond.End()).Offset])+")")
		case *ast.IncDecStmt:
			add(n.TokPos, n.TokPos+2, map[token.Token]string{token.INC: "--", token.DEC: "++"}[n.Tok])
		case *ast.AssignStmt:
			if op, ok := map[token.Token]string{token.ADD_ASSIGN: "-=", token.SUB_ASSIGN: "+="}[n.Tok]; ok {
				add(n.TokPos, n.TokPos+2, op)
			}
		case *ast.CallExpr:
			if name, ok := n.Fun.(*ast.Ident); ok && (name.Name == "min" || name.Name == "max") {
				add(name.Pos(), name.End(), map[string]string{"min": "max", "max": "min"}[name.Name])
			}
		}
		return true
	})
	return found, nil
}

// isText reports whether an addition is one of strings.
func isText(n *ast.BinaryExpr) bool {
	text := false
	ast.Inspect(n, func(n ast.Node) bool {
		lit, ok := n.(*ast.BasicLit)
		text = text || ok && lit.Kind == token.STRING
		return true
	})
	return text
}

// verdict is what becomes of a mutant.
type verdict string

const (
	killed   verdict = "killed"
	survived verdict = "survived"
	invalid  verdict = "invalid" // it does not compile
)

// try runs the tests against a mutant.
func try(m mutant, dir string, limit time.Duration) (verdict, error) {
	text, err := os.ReadFile(m.file)
	if err != nil {
		return "", err
	}
	changed := filepath.Join(dir, "mutant.go")
	if err := os.WriteFile(changed, slices.Concat(text[:m.from], []byte(m.new), text[m.to:]), 0o644); err != nil {
		return "", err
	}
	original, err := filepath.Abs(m.file)
	if err != nil {
		return "", err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{original: changed}})
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, overlay, 0o644); err != nil {
		return "", err
	}
	// The tests beside the file notice nearly all, and sooner than those of the whole package.
	beside, err := testsOf(strings.TrimSuffix(m.file, ".go") + "_test.go")
	if err != nil {
		return "", err
	}
	for _, tests := range []string{beside, "."} {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		cmd := exec.CommandContext(ctx, "go", "test", "-short", "-failfast", "-vet=off", "-ldflags=-s -w", "-run", tests, "-overlay", file, "./"+filepath.Dir(m.file))
		cmd.WaitDelay = time.Second
		out, err := cmd.CombinedOutput()
		cancel()
		switch {
		case bytes.Contains(out, []byte("[build failed]")):
			return invalid, nil
		case err != nil:
			return killed, nil // by a failure, or because it does not end
		}
	}
	return survived, nil
}

// testsOf returns a pattern for the tests in a file; for all, if there is no such file.
func testsOf(file string) (string, error) {
	if _, err := os.Stat(file); os.IsNotExist(err) {
		return ".", nil
	}
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

func main() {
	only := flag.String("run", "", "only files whose name has this")
	limit := flag.Duration("timeout", 2*time.Minute, "how long the tests of one mutant may take")
	workers := flag.Int("workers", max(1, runtime.NumCPU()), "how many mutants are tried at a time")
	flag.Parse()
	if err := run(*only, *limit, *workers); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func run(only string, limit time.Duration, workers int) error {
	may, err := accepted("testdata/mutate/accepted.txt")
	if err != nil {
		return err
	}
	var all []mutant
	for _, file := range rules {
		if strings.Contains(file, only) {
			found, err := mutants(file)
			if err != nil {
				return err
			}
			all = append(all, found...)
		}
	}
	queue := make(chan mutant)
	var mu sync.Mutex
	count := map[verdict]int{}
	unexplained := 0
	var failure error
	var trying sync.WaitGroup
	for range workers {
		trying.Go(func() {
			for m := range queue {
				dir, err := os.MkdirTemp("", "mutate-")
				var v verdict
				if err == nil {
					v, err = try(m, dir, limit)
					os.RemoveAll(dir)
				}
				mu.Lock()
				count[v]++
				if err != nil {
					failure = err
				}
				if v == survived && !may[m.String()] {
					unexplained++
					fmt.Printf("line %d of %s\n", m.line, &m)
				}
				mu.Unlock()
			}
		})
	}
	for _, m := range all {
		queue <- m
	}
	close(queue)
	trying.Wait()
	fmt.Printf("%d mutants: %d killed, %d survived, %d of them unexplained, %d do not compile\n", len(all), count[killed], count[survived], unexplained, count[invalid])
	switch {
	case failure != nil:
		return failure
	case unexplained > 0:
		return fmt.Errorf("%d mutants survive without a reason", unexplained)
	}
	return nil
}
