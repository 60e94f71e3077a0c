package config

import (
	"encoding/json"
	"strconv"
	"strings"
)

// A valueKind says which fields of a node are of use.
type valueKind uint8

const (
	scalarValue valueKind = iota // a string, number, true, false or null
	arrayValue
	objectValue
)

// A node is one value of a document, with its place.
type node struct {
	parent *node
	name   string // of the member, if parent is an object
	index  int    // of the item, if parent is an array
	off    int    // of the value's first byte
	keyOff int    // of the member name's first byte, if parent is an object

	kind   valueKind
	value  any              // of a scalar: string, json.Number, bool or nil
	order  []*node          // members or items, in the order of the file
	byName map[string]*node // of members, where there are many; see member
}

// isObject reports whether n is an object, which may be empty.
func (n *node) isObject() bool { return n.kind == objectValue }

// isNull reports whether n is null.
func (n *node) isNull() bool { return n.kind == scalarValue && n.value == nil }

// text is the string that n is, or empty.
func (n *node) text() string {
	s, _ := n.value.(string)
	return s
}

// float gives the number n. The schema has bounded it, and whole numbers below 2^53 are exact.
func (n *node) float() float64 {
	number, _ := n.value.(json.Number)
	f, _ := strconv.ParseFloat(string(number), 64)
	return f
}

// any gives n as encoding/json would, for the validator of schemas.
func (n *node) any() any {
	switch n.kind {
	case objectValue:
		members := make(map[string]any, len(n.order))
		for _, m := range n.order {
			members[m.name] = m.any()
		}
		return members
	case arrayValue:
		items := make([]any, len(n.order))
		for i, m := range n.order {
			items[i] = m.any()
		}
		return items
	default:
		return n.value
	}
}

// fewMembers is how many members of an object are searched one by one. A hostile object can have hundreds of thousands.
const fewMembers = 32

// member gives the member of that name, or nil.
func (n *node) member(name string) *node {
	if !n.isObject() {
		return nil
	}
	if len(n.order) <= fewMembers {
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

// escapePointer and unescapePointer follow RFC 6901, sections 3 and 4.
var (
	escapePointer   = strings.NewReplacer("~", "~0", "/", "~1")
	unescapePointer = strings.NewReplacer("~1", "/", "~0", "~")
)

// at follows path, a JSON pointer taken apart, as far as it goes.
func (n *node) at(path []string) *node {
	for _, step := range path {
		next := n.member(step)
		if n.kind == arrayValue {
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
