package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Limits on a file of either kind. They keep a hostile file from growing the process: MaxFileSize
// bounds what is read, and the others what is built from it.
const (
	MaxFileSize = 8 << 20 // bytes

	maxDepth    = 32      // arrays and objects inside one another
	maxValues   = 1 << 19 // in the whole file: 26 for each of MaxMirrors
	maxNumber   = 64      // characters of a number
	maxItems    = 10_000  // in an array other than the list of mirrors
	maxExponent = 400     // of a number; beyond, exact arithmetic would take gigabytes
)

// A document is a JSON text whose values know where they stand.
type document struct {
	file  string
	data  []byte
	root  *node
	lines []int // offsets at which lines begin
}

// position gives the line and column of an offset, both from 1, the column in bytes.
func (d *document) position(off int) (line, column int) {
	line, found := slices.BinarySearch(d.lines, off)
	if !found {
		line--
	}
	return line + 1, off - d.lines[line] + 1
}

// readDocument reads a JSON text. It takes time and memory in proportion to the text, and does not recurse. If root is
// nil, the single fault says why the text is not JSON or not acceptable at all; otherwise the faults are such that the
// rest can still be checked.
func readDocument(file string, data []byte) (*document, []fault) {
	d := &document{file: file, data: data, lines: []int{0}}
	for i, c := range data {
		if c == '\n' {
			d.lines = append(d.lines, i+1)
		}
	}
	if f := checkText(data); f != nil {
		return d, []fault{*f}
	}
	b := &treeBuilder{data: data, names: make(map[*node]map[string]bool), tokens: jsontext.NewDecoder(bytes.NewBuffer(data),
		jsontext.AllowDuplicateNames(true), // a fault that does not hide others
		jsontext.AllowInvalidUTF8(true))}   // which is in escapes only, and replaced as encoding/json does
	root, fatal := b.build()
	if fatal != nil {
		return d, []fault{*fatal}
	}
	d.root = root
	return d, b.faults
}

// faultAt is a fault of the document as a whole, at an offset.
func faultAt(off int, format string, args ...any) *fault {
	return &fault{off: off, say: says(format, args...)}
}

// checkText refuses what is not UTF-8 text of a sensible size (RFC 8259 section 8.1).
func checkText(data []byte) *fault {
	switch {
	case len(data) > MaxFileSize:
		return faultAt(0, "want at most %d bytes, got %d", MaxFileSize, len(data))
	case bytes.HasPrefix(data, []byte("\xef\xbb\xbf")):
		return faultAt(0, "the file begins with a byte order mark; save it as UTF-8 without one")
	case bytes.HasPrefix(data, []byte("\xff\xfe")), bytes.HasPrefix(data, []byte("\xfe\xff")),
		bytes.IndexByte(data[:min(4, len(data))], 0) >= 0:
		return faultAt(0, "the file looks like UTF-16 or UTF-32; save it as UTF-8")
	case len(bytes.TrimSpace(data)) == 0:
		return faultAt(0, "the file is empty; want a JSON object")
	case utf8.Valid(data):
		return nil
	}
	for i := 0; ; {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 {
			return faultAt(i, "byte 0x%02x is not UTF-8; save the file as UTF-8", data[i])
		}
		i += size
	}
}

// syntaxFault explains an error of jsontext, with hints for what people write by habit.
func syntaxFault(data []byte, err error) *fault {
	var syntax *jsontext.SyntacticError
	if !errors.As(err, &syntax) {
		return faultAt(len(data)-1, "not valid JSON: the file ends too early; is a closing brace, bracket or quote missing?")
	}
	off := min(max(int(syntax.ByteOffset), 0), len(data)-1)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		end := len(bytes.TrimRight(data, " \t\r\n")) - 1
		return faultAt(end, "not valid JSON: the file ends too early; is a closing brace, bracket or quote missing?")
	}
	before, after := bytes.TrimRight(data[:off], " \t\r\n"), bytes.TrimLeft(data[off+1:], " \t\r\n")
	hint := ""
	switch c := data[off]; {
	case c == ',' && len(after) > 0 && (after[0] == '}' || after[0] == ']'):
		return faultAt(off, "not valid JSON: remove the comma before the closing %q", string(after[0]))
	case c == '/' || c == '#':
		hint = " (JSON has no comments)"
	case c == '\'':
		hint = " (JSON wants double quotes)"
	case c == '"' && len(before) > 0 && bytes.IndexByte([]byte(",:{["), before[len(before)-1]) < 0:
		hint = " (is a comma missing before it?)"
	}
	return faultAt(off, "not valid JSON: %v%s", syntax.Err, hint)
}

// A treeBuilder makes nodes of the tokens of a text.
type treeBuilder struct {
	data   []byte
	tokens *jsontext.Decoder
	root   *node
	open   *node // the array or object that the next token stands in; nil outside of any
	depth  int
	count  int                       // of nodes
	names  map[*node]map[string]bool // of the members of open objects with many of them
	faults []fault
	spare  []node
}

// build returns the root, or the fault that makes the rest not worth looking at.
func (b *treeBuilder) build() (root *node, fatal *fault) {
	for b.root == nil || b.open != nil {
		off := b.nextOffset()
		token, err := b.tokens.ReadToken()
		if err != nil {
			return nil, syntaxFault(b.data, err)
		}
		if kind := token.Kind(); kind == '}' || kind == ']' {
			delete(b.names, b.open)
			b.open = b.open.parent
			b.depth--
			continue
		}
		n, fatal := b.newNode(off)
		if fatal != nil {
			return nil, fatal
		}
		if n.parent != nil && n.parent.isObject() {
			n.name, n.off = token.String(), b.nextOffset()
			if token, err = b.tokens.ReadToken(); err != nil {
				return nil, syntaxFault(b.data, err)
			}
		}
		if fatal := b.put(n, token); fatal != nil {
			return nil, fatal
		}
	}
	if off := b.nextOffset(); off < len(b.data) {
		return nil, faultAt(off, "not valid JSON: %q after the end of the document", b.data[off])
	}
	return b.root, nil
}

// nextOffset is the offset of the next token, if the text is valid up to there.
func (b *treeBuilder) nextOffset() int {
	off := int(b.tokens.InputOffset())
	for off < len(b.data) && strings.IndexByte(" \t\r\n,:", b.data[off]) >= 0 {
		off++
	}
	return off
}

// newNode makes a node below the open one, of the value or the member name that begins at off. Nodes come in batches,
// for a big pool has hundreds of thousands.
func (b *treeBuilder) newNode(off int) (n *node, fatal *fault) {
	if len(b.spare) == 0 {
		b.spare = make([]node, min(max(16, b.count), 1024))
	}
	n, b.spare = &b.spare[0], b.spare[1:]
	n.parent, n.off, n.keyOff = b.open, off, off
	if b.open != nil && b.open.kind == arrayValue {
		n.index = len(b.open.order)
		if n.index >= maxItems && (b.open.name != "mirrors" || b.open.parent != b.root) {
			return nil, faultAt(off, "want at most %d items in a list", maxItems)
		}
	}
	if b.count++; b.count > maxValues {
		return nil, faultAt(off, "want at most %d values in the file", maxValues)
	}
	return n, nil
}

// put gives n the value that token begins, and files it under its parent.
func (b *treeBuilder) put(n *node, token jsontext.Token) (fatal *fault) {
	if b.root == nil {
		b.root = n
	}
	if p := n.parent; p != nil && p.isObject() && b.isRepeated(n) {
		b.faults = append(b.faults, fault{off: n.keyOff, node: n,
			say: says("the key %s is given twice; remove one of them", quote(n.name))})
	} else if p != nil {
		p.order = append(p.order, n)
	}
	switch token.Kind() {
	case '{', '[':
		n.kind = arrayValue
		if token.Kind() == '{' {
			n.kind = objectValue
		}
		b.open = n
		if b.depth++; b.depth > maxDepth {
			return faultAt(n.off, "want at most %d arrays and objects inside one another", maxDepth)
		}
	case '"':
		n.value = token.String()
	case '0':
		number := json.Number(token.String())
		if text := wrongNumber(number); text != "" {
			b.faults = append(b.faults, fault{off: n.off, node: n, say: says("%s", text)})
			number = "0" // harmless for what reads on; the file is refused
		}
		n.value = number
	case 't', 'f':
		n.value = token.Bool()
	}
	return nil
}

// isRepeated reports whether n's parent, an open object, has a member of n's name already. Few members are searched
// faster than they are indexed.
func (b *treeBuilder) isRepeated(n *node) bool {
	p := n.parent
	if len(p.order) <= fewMembers {
		return p.member(n.name) != nil
	}
	names := b.names[p]
	if names == nil {
		names = make(map[string]bool, 2*len(p.order))
		for _, m := range p.order {
			names[m.name] = true
		}
		b.names[p] = names
	}
	repeated := names[n.name]
	names[n.name] = true
	return repeated
}

// wrongNumber says what is wrong with the size of a number. The schema validator computes exactly,
// with big rationals: 1e999999999 would take it gigabytes.
func wrongNumber(number json.Number) string {
	s := string(number)
	exponent := 0
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		var err error
		if exponent, err = strconv.Atoi(s[i+1:]); err != nil {
			exponent = maxExponent + 1
		}
	}
	if len(s) > maxNumber || exponent > maxExponent || exponent < -maxExponent {
		return fmt.Sprintf("want a number of a sensible size, got %s", shorten(s))
	}
	return ""
}
