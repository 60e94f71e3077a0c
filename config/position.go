package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits on a file of either kind. They keep a hostile file from growing the process: MaxFileSize
// bounds what is read, and the others what is built from it.
const (
	MaxFileSize = 4 << 20 // bytes

	maxDepth    = 32      // arrays and objects inside one another
	maxValues   = 1 << 19 // in the whole file: enough for 100,000 short mirrors
	maxNumber   = 64      // characters of a number
	maxItems    = 10_000  // in an array other than the list of mirrors
	maxExponent = 400     // of a number; beyond, exact arithmetic would take gigabytes
)

// A node is one value of a document, with its place.
type node struct {
	parent *node
	name   string // of the member, if parent is an object
	index  int    // of the item, if parent is an array
	off    int    // of the value's first byte
	keyOff int    // of the member name's first byte, if parent is an object

	// value is a string, json.Number, bool, nil, map[string]any or []any, as the schema wants it.
	value  any
	order  []*node          // members or items, in the order of the file
	byName map[string]*node // of members, where there are many; see member
}

// isObject reports whether n is an object, which may be empty.
func (n *node) isObject() bool {
	_, ok := n.value.(map[string]any)
	return ok
}

// member gives the member of that name, or nil. A usual object is searched faster than it is indexed;
// a hostile one with many members is indexed, so that no search takes quadratic time.
func (n *node) member(name string) *node {
	if !n.isObject() {
		return nil
	}
	if len(n.order) <= 32 {
		for _, m := range n.order {
			if m.name == name {
				return m
			}
		}
		return nil
	}
	if n.byName == nil {
		n.byName = make(map[string]*node, len(n.order))
		for _, m := range n.order {
			n.byName[m.name] = m
		}
	}
	return n.byName[name]
}

// pointer is the place of n as RFC 6901 writes it.
func (n *node) pointer() string {
	if n.parent == nil {
		return ""
	}
	if n.parent.isObject() {
		return n.parent.pointer() + "/" + escapePointer.Replace(n.name)
	}
	return n.parent.pointer() + "/" + strconv.Itoa(n.index)
}

// escapePointer follows RFC 6901 section 3.
var escapePointer = strings.NewReplacer("~", "~0", "/", "~1")

// at follows path, a JSON pointer taken apart, as far as it goes.
func (n *node) at(path []string) *node {
	for _, step := range path {
		next := n.member(step)
		if !n.isObject() {
			if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(n.order) {
				next = n.order[i]
			}
		}
		if next == nil {
			return n
		}
		n = next
	}
	return n
}

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

// readDocument reads a JSON text. It takes time and memory in proportion to the text, and does not
// recurse. If root is nil, the single fault says why the text is not JSON or not acceptable at all;
// otherwise the faults are such that the rest can still be checked.
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
	if !json.Valid(data) {
		return d, []fault{*syntaxFault(data, json.Unmarshal(data, new(json.RawMessage)))}
	}
	t := &treeBuilder{data: data}
	root, fatal := t.build()
	if fatal != nil {
		return d, []fault{*fatal}
	}
	d.root = root
	return d, t.faults
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

// syntaxFault explains an error of encoding/json, with hints for what people write by habit.
func syntaxFault(data []byte, err error) *fault {
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) {
		return faultAt(0, "not valid JSON: %v", err)
	}
	// Offset counts the bytes read, so that the offending one is the last of them.
	off := min(max(int(syntax.Offset)-1, 0), len(data)-1)
	if strings.HasPrefix(syntax.Error(), "unexpected end") {
		end := len(bytes.TrimRight(data, " \t\r\n")) - 1
		return faultAt(end, "not valid JSON: the file ends too early; is a closing brace, bracket or quote missing?")
	}
	before := bytes.TrimRight(data[:off], " \t\r\n")
	hint := ""
	switch c := data[off]; {
	case (c == '}' || c == ']') && bytes.HasSuffix(before, []byte(",")):
		return faultAt(len(before)-1, "not valid JSON: remove the comma before the closing %q", string(c))
	case c == '/' || c == '#':
		hint = " (JSON has no comments)"
	case c == '\'':
		hint = " (JSON wants double quotes)"
	case c == '"' && len(before) > 0 && bytes.IndexByte([]byte(",:{["), before[len(before)-1]) < 0:
		hint = " (is a comma missing before it?)"
	}
	return faultAt(off, "not valid JSON: %v%s", syntax, hint)
}

// A treeBuilder builds the nodes of a text that is known to be valid JSON. It takes tokens by itself,
// for json.Decoder.Token, which scans and decodes each value anew, took a third of the time to load a big
// pool. The fuzz tests compare the values with those of encoding/json.
type treeBuilder struct {
	data   []byte
	off    int // of the next byte
	count  int // of nodes
	faults []fault
	spare  []node
}

// node makes a node. They come in batches, for a big pool has hundreds of thousands.
func (t *treeBuilder) node() *node {
	if len(t.spare) == 0 {
		t.spare = make([]node, min(max(16, t.count), 1024))
	}
	n := &t.spare[0]
	t.spare = t.spare[1:]
	return n
}

// build returns the root, or the fault that makes the rest not worth looking at.
func (t *treeBuilder) build() (root *node, fatal *fault) {
	var open *node // the array or object that the next token stands in
	depth := 0
	for {
		off := t.next()
		if off == len(t.data) {
			return root, nil
		}
		token := t.token()
		if token == json.Delim('}') || token == json.Delim(']') {
			depth--
			open = t.put(open)
			continue
		}
		n := t.node()
		n.parent, n.off, n.keyOff = open, off, off
		if open != nil && open.isObject() {
			n.name = token.(string)
			n.off = t.next()
			token = t.token()
		} else if open != nil {
			n.index = len(open.order)
			if n.index >= maxItems && (open.name != "mirrors" || open.parent != root) {
				return nil, faultAt(n.off, "want at most %d items in a list", maxItems)
			}
		}
		if root == nil {
			root = n
		}
		if t.count++; t.count > maxValues {
			return nil, faultAt(n.off, "want at most %d values in the file", maxValues)
		}
		if !t.start(n, token) {
			t.put(n)
			continue
		}
		if depth++; depth > maxDepth {
			return nil, faultAt(n.off, "want at most %d arrays and objects inside one another", maxDepth)
		}
		open = n
	}
}

// next skips to the next token, and gives its offset.
func (t *treeBuilder) next() int {
	for t.off < len(t.data) && strings.IndexByte(" \t\r\n,:", t.data[t.off]) >= 0 {
		t.off++
	}
	return t.off
}

// token takes the token at t.off.
func (t *treeBuilder) token() json.Token {
	start := t.off
	switch c := t.data[start]; c {
	case '{', '}', '[', ']':
		t.off++
		return json.Delim(c)
	case '"':
		return t.string()
	case 't', 'n':
		t.off += len("true")
		if c == 'n' {
			return nil
		}
		return true
	case 'f':
		t.off += len("false")
		return false
	}
	for t.off < len(t.data) && strings.IndexByte("+-.0123456789Ee", t.data[t.off]) >= 0 {
		t.off++
	}
	return json.Number(t.data[start:t.off])
}

// string takes the string at t.off.
func (t *treeBuilder) string() string {
	start, escaped := t.off, false
	for t.off++; t.data[t.off] != '"'; t.off++ {
		if t.data[t.off] == '\\' {
			t.off++
			escaped = true
		}
	}
	t.off++
	if !escaped {
		return string(t.data[start+1 : t.off-1])
	}
	var s string
	_ = json.Unmarshal(t.data[start:t.off], &s) // cannot fail: the text is valid
	return s
}

// start gives n the value that token begins, and reports whether more tokens belong to it.
func (t *treeBuilder) start(n *node, token json.Token) (more bool) {
	switch token := token.(type) {
	case json.Delim:
		if token == '{' {
			n.value = make(map[string]any)
		} else {
			n.value = []any{}
		}
		return true
	case json.Number:
		n.value = token
		if text := wrongNumber(token); text != "" {
			t.faults = append(t.faults, fault{off: n.off, node: n, say: says("%s", text)})
			n.value = json.Number("0") // harmless to whoever looks on; the file is refused
		}
	default:
		n.value = token
	}
	return false
}

// put files a finished n under its parent, and returns the parent.
func (t *treeBuilder) put(n *node) *node {
	p := n.parent
	if p == nil {
		return nil
	}
	object, ok := p.value.(map[string]any)
	if !ok {
		p.order = append(p.order, n)
		p.value = append(p.value.([]any), n.value)
		return p
	}
	if _, twice := object[n.name]; twice {
		t.faults = append(t.faults, fault{off: n.keyOff, node: n, say: says("the key %s is given twice; remove one of them", quote(n.name))})
		return p
	}
	p.order = append(p.order, n)
	object[n.name] = n.value
	return p
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
