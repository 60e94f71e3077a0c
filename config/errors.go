package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// maxReported bounds the faults and the warnings that are reported for one file, each. A person
// reads no more, and a hostile file could otherwise turn each of its bytes into a line of text.
const maxReported = 1000

// An Error points at one fault in a file, so that an editor can jump to it.
type Error struct {
	File         string
	Line, Column int         // both from 1, Column in bytes; both 0 if the file could not be read at all
	Pointer      string      // RFC 6901; empty for the document as a whole
	Err          error       // what is wrong, what would be right
	Kind         WarningKind // of a warning; empty for an error
}

// Error gives "file:line:column: /json/pointer: what is wrong, what would be right", in one printable line.
func (e *Error) Error() string {
	if e.Line == 0 {
		return Printable(fmt.Sprintf("%s: %v", e.File, e.Err))
	}
	pointer := e.Pointer
	if pointer == "" {
		pointer = "(document)"
	}
	return Printable(fmt.Sprintf("%s:%d:%d: %s: %v", e.File, e.Line, e.Column, pointer, e.Err))
}

// ErrorAt returns err as an [*Error] at a value of a document: at the deepest value on the way to pointer (RFC 6901)
// that data, the text of file, has.
func ErrorAt(file string, data []byte, pointer string, err error) *Error {
	e := &Error{File: file, Line: 1, Column: 1, Pointer: pointer, Err: err}
	d, _ := readDocument(file, data)
	if d.root == nil {
		return e
	}
	steps := strings.Split(strings.TrimPrefix(pointer, "/"), "/")
	for i, step := range steps {
		steps[i] = unescapePointer.Replace(step)
	}
	e.Line, e.Column = d.position(d.root.at(steps).off)
	return e
}

// Unwrap gives e.Err, so that a caller can ask errors.Is(err, fs.ErrNotExist).
func (e *Error) Unwrap() error { return e.Err }

// Errors takes an error of this package apart: one element for each fault, in the order of the
// file. An error from elsewhere becomes one Error without a position. Errors(nil) is empty.
func Errors(err error) []*Error {
	if err == nil {
		return nil
	}
	var list []*Error
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			list = append(list, Errors(e)...)
		}
		return list
	}
	var e *Error
	if errors.As(err, &e) {
		return []*Error{e}
	}
	return []*Error{{Err: err}}
}

// A fault is an Error in the making. Its pointer, its words and its line are made at the end of the
// work, and only if it is reported: a hostile file can have 500,000 faults.
type fault struct {
	off  int
	node *node // nil for the document as a whole
	kind WarningKind
	say  func() string
}

// says gives the words of a fault.
func says(format string, args ...any) func() string {
	return func() string { return fmt.Sprintf(format, args...) }
}

// errorsOf turns faults into errors in the order of the file.
func (d *document) errorsOf(faults []fault) []*Error {
	slices.SortStableFunc(faults, func(a, b fault) int { return cmp.Compare(a.off, b.off) })
	more := max(0, len(faults)-maxReported)
	faults = faults[:len(faults)-more]
	var list []*Error
	for _, f := range faults {
		line, column := d.position(f.off)
		e := &Error{File: d.file, Line: line, Column: column, Err: errors.New(f.say()), Kind: f.kind}
		if f.node != nil {
			e.Pointer = f.node.pointer()
		}
		list = append(list, e)
	}
	if more > 0 {
		last := *list[len(list)-1]
		last.Pointer = ""
		last.Kind = ""
		last.Err = fmt.Errorf("at least %d more from here on are not shown", more)
		list = append(list, &last)
	}
	return list
}

// join makes one error of a list; nil if there is nothing in it.
func join(list []*Error) error {
	errs := make([]error, len(list))
	for i, e := range list {
		errs[i] = e
	}
	return errors.Join(errs...)
}
