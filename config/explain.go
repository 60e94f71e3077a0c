package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// A checker collects what is wrong with a document.
type checker struct {
	*document
	rules    *rules
	faults   []fault
	warnings []fault
	bad      map[*node]bool // values with a fault, of which no rule need speak again
}

// fail files a fault of the value n.
func (c *checker) fail(n *node, format string, args ...any) {
	c.bad[n] = true
	c.faults = append(c.faults, fault{off: n.off, node: n, say: says(format, args...)})
}

// missing files a fault of a key that the object n lacks. n stays good: its other keys are worth checking.
func (c *checker) missing(n *node, text string) {
	c.faults = append(c.faults, fault{off: n.off, node: n, say: says("%s", text)})
}

// warn files a warning of the value n.
func (c *checker) warn(n *node, kind WarningKind, format string, args ...any) {
	c.warnings = append(c.warnings, fault{off: n.off, node: n, kind: kind, say: says(format, args...)})
}

// checkSchema files what the schema says against roots: the document, or what stands for parts of it. It validates them
// side by side.
func (c *checker) checkSchema(roots ...*node) {
	errs := make([]error, len(roots))
	var validating sync.WaitGroup
	for i, root := range roots {
		validating.Go(func() { errs[i] = c.rules.compiled.Validate(root.any()) })
	}
	validating.Wait()
	for i, err := range errs {
		var invalid *jsonschema.ValidationError
		if errors.As(err, &invalid) {
			c.explain(roots[i], invalid)
		} else if err != nil {
			c.fail(roots[i], "%v", err)
		}
	}
}

// explain files the leaves of a tree of complaints about root. The inner ones only say where they come
// from: our schemas use no anyOf, oneOf or not, whose leaves would contradict each other.
func (c *checker) explain(root *node, e *jsonschema.ValidationError) {
	if len(e.Causes) > 0 {
		for _, cause := range e.Causes {
			c.explain(root, cause)
		}
		return
	}
	n := root.at(e.InstanceLocation)
	part := c.rules.part(e.SchemaURL)
	switch k := e.ErrorKind.(type) {
	case *kind.Required:
		for _, key := range k.Missing {
			want := c.rules.want(c.rules.property(part, key))
			c.missing(n, fmt.Sprintf("the key %q is missing; want %s", key, want))
		}
	case *kind.AdditionalProperties:
		for _, key := range k.Properties {
			c.faults = append(c.faults, c.unknownKey(n.member(key), part))
		}
	default:
		c.bad[n] = true
		c.faults = append(c.faults, fault{off: n.off, node: n, say: func() string {
			return wrong(c.rules.want(part), c.got(n, part), hint(k, part))
		}})
	}
}

// hint is what helps against a complaint, or empty.
func hint(k jsonschema.ErrorKind, part map[string]any) string {
	switch k := k.(type) {
	case *kind.MaxLength:
		return fmt.Sprintf("%d characters, at most %d", k.Got, k.Want)
	case *kind.MaxItems:
		return ""
	case *kind.Type:
		if part["type"] == "array" {
			return "" // a list's hint is about an empty one
		}
	}
	return text(part["x-hint"])
}

// unknownKeys warns of the keys below n that part, a piece of the schema, does not know.
func (c *checker) unknownKeys(n *node, part map[string]any) {
	part = c.rules.follow(part)
	if properties, ok := part["properties"].(map[string]any); ok && n.isObject() {
		for _, m := range n.order {
			if property, ok := properties[m.name].(map[string]any); ok {
				c.unknownKeys(m, property)
				continue
			}
			unknown := c.unknownKey(m, part)
			unknown.kind = WarnUnknownKey
			c.warnings = append(c.warnings, unknown)
		}
	}
	if items, ok := part["items"].(map[string]any); ok && !n.isObject() {
		for _, item := range n.order {
			c.unknownKeys(item, items)
		}
	}
}

// unknownKey is the fault of the member m of an object that part describes.
func (c *checker) unknownKey(m *node, part map[string]any) fault {
	return fault{off: m.keyOff, node: m, say: func() string { return c.rules.unknownKey(part, m.name) }}
}

// unknownKey says that an object has no such key, and which one may be meant, or where it belongs.
func (r *rules) unknownKey(object map[string]any, key string) string {
	properties, _ := object["properties"].(map[string]any)
	known := slices.Sorted(maps.Keys(properties))
	known = slices.DeleteFunc(known, func(s string) bool { return s == "$schema" })
	if meant := nearest(key, known); meant != "" {
		return fmt.Sprintf("unknown key %s; did you mean %q?", quote(key), meant)
	}
	top, _ := r.text["properties"].(map[string]any)
	var sections []string
	for _, section := range slices.Sorted(maps.Keys(top)) {
		if r.property(r.property(r.text, section), key) != nil {
			sections = append(sections, fmt.Sprintf("%q", section))
		}
	}
	if len(sections) > 0 {
		return fmt.Sprintf("unknown key %s here; it belongs in %s", quote(key), strings.Join(sections, " or "))
	}
	if r.property(r.text, key) != nil {
		return fmt.Sprintf("unknown key %s here; it belongs at the top of the file", quote(key))
	}
	return fmt.Sprintf("unknown key %s; known ones are %s", quote(key), strings.Join(known, ", "))
}

// want is what part asks for, in words that follow "want".
func (r *rules) want(part map[string]any) string {
	if want := text(part["x-want"]); want != "" {
		return want
	}
	if value, ok := part["const"]; ok {
		return fmt.Sprint(value)
	}
	if values, ok := part["enum"].([]any); ok {
		var list []string
		for _, v := range values {
			list = append(list, fmt.Sprintf("%q", v))
		}
		return "one of " + strings.Join(list, ", ")
	}
	switch part["type"] {
	case "boolean":
		return "true or false"
	case "integer":
		return fmt.Sprintf("a whole number from %v to %v", part["minimum"], part["maximum"])
	case "number":
		if above, ok := part["exclusiveMinimum"]; ok {
			return fmt.Sprintf("a number above %v, at most %v", above, part["maximum"])
		}
		return fmt.Sprintf("a number from %v to %v", part["minimum"], part["maximum"])
	case "object":
		return "an object"
	}
	if most, ok := part["maxLength"]; ok {
		return fmt.Sprintf("a string of at most %v characters", most)
	}
	return "a string"
}

// got describes the value n, without saying what a secret is.
func (c *checker) got(n *node, part map[string]any) string {
	if part["x-secret"] == true {
		return "something else (not shown: it is a secret)"
	}
	switch {
	case n.kind == objectValue:
		return "an object"
	case n.kind == arrayValue && len(n.order) == 0:
		return "an empty list"
	case n.kind == arrayValue:
		return fmt.Sprintf("a list of %d", len(n.order))
	}
	switch v := n.value.(type) {
	case nil:
		return "null"
	case string:
		return quote(hideUser(v))
	case json.Number:
		return shorten(string(v))
	}
	return fmt.Sprint(n.value)
}

// wrong is the sentence that most faults have.
func wrong(want, got, hint string) string {
	if hint != "" {
		hint = " (" + hint + ")"
	}
	return "want " + want + ", got " + got + hint
}

// text is v if it is a string, and else empty.
func text(v any) string {
	s, _ := v.(string)
	return s
}

// maxQuoted is how much of a value an error quotes, in bytes.
const maxQuoted = 100

// shorten cuts what is too long to be read.
func shorten(s string) string {
	if len(s) <= maxQuoted {
		return s
	}
	cut := maxQuoted
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "..."
}

// quote quotes a value of the file, so that it cannot pass for something else on a terminal.
func quote(s string) string { return fmt.Sprintf("%q", shorten(s)) }

// hideUser replaces the user and password of a URL, since error texts end up in logs.
func hideUser(s string) string {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return s
	}
	// The last @ of all, for a password may hold a slash. That may hide a path, which is no harm.
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		return scheme + "://***" + rest[at:]
	}
	return s
}
