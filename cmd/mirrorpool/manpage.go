package main

import (
	"bytes"
	"fmt"
	"strings"
)

// A manPage is a manual page, in the macros of man(7). The generator of cobra would bring a Markdown library into the
// memory of each server, for what is written once when a package is built.
type manPage struct{ bytes.Buffer }

// newManPage begins the page of what has a name, in a section of the manual. It has no date, so that packages of one
// version are the same.
func newManPage(name string, section int, what string) *manPage {
	version, _ := build()
	p := new(manPage)
	fmt.Fprintf(p, ".TH \"%s\" %d \"\" \"%s\" mirrorpool\n.nh\n", escapeRoff(strings.ToUpper(name)), section,
		escapeRoff("mirrorpool "+version))
	p.section("NAME")
	p.text(name + " - " + what)
	return p
}

func (p *manPage) section(title string) { fmt.Fprintf(p, ".SH %s\n", title) }

// text writes a paragraph, which is filled.
func (p *manPage) text(text string) { fmt.Fprintf(p, "%s\n", escapeRoff(text)) }

func (p *manPage) bold(text string) { fmt.Fprintf(p, "\\fB%s\\fP\n", escapeRoff(text)) }

// help writes a text for a terminal: headings, which begin with "#", paragraphs, which are filled, and indented lines,
// which stay as they are.
func (p *manPage) help(text string) {
	for line := range strings.Lines(text) {
		switch line = strings.TrimRight(line, "\n"); {
		case line == "":
			p.WriteString(".PP\n")
		case strings.HasPrefix(line, "#"):
			fmt.Fprintf(p, ".SS %s\n", escapeRoff(strings.TrimLeft(line, "# ")))
		case strings.TrimLeft(line, " \t") != line:
			fmt.Fprintf(p, ".nf\n%s\n.fi\n", escapeRoff(line))
		default:
			p.text(line)
		}
	}
}

// item writes a term, and what it means, in a list.
func (p *manPage) item(term, meaning string) {
	p.WriteString(".TP\n")
	p.bold(term)
	p.text(meaning)
}

// escapeRoff keeps text from being read as a request or an escape, and dashes and quotes from becoming those of a book,
// so that options and commands can be copied from a page.
func escapeRoff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, `"`, `\(dq`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
