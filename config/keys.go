package config

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
)

// A Key describes one key of a file that people write, as its schema does.
type Key struct {
	Path    string // such as "mirrors[].dns.weight"
	Want    string // what its value has to be
	Default string // as JSON; empty if the schema gives none
	Meaning string // sentences; may be empty
}

// MirrorsKeys and ServerKeys describe the keys of mirrors.json and of mirrorpool.json, in the order of the schemas.
func MirrorsKeys() []Key { return mirrorsKeys() }

// ServerKeys is described at [MirrorsKeys].
func ServerKeys() []Key { return serverKeys() }

var (
	mirrorsKeys = sync.OnceValue(func() []Key { return schemaKeys("mirrors.schema.json", mirrorsSchema) })
	serverKeys  = sync.OnceValue(func() []Key { return schemaKeys("config.schema.json", serverSchema) })
)

// schemaKeys panics if the schema is broken, since it is part of the program.
func schemaKeys(file string, schema []byte) []Key {
	d, faults := readDocument(file, schema)
	if len(faults) > 0 {
		panic(fmt.Sprintf("config: embedded schema: %v", faults))
	}
	r := keyReader{defs: d.root.member("$defs")}
	r.members("", d.root)
	return r.keys
}

// A keyReader gathers the keys of a schema. The schemas do not refer to themselves, so that it comes to an end.
type keyReader struct {
	defs *node
	keys []Key
}

// members gathers the properties of an object's schema, and of its items if it is a list.
func (r *keyReader) members(path string, schema *node) {
	if items := schema.member("items"); items != nil {
		r.members(path+"[]", r.resolve(items))
	}
	properties := schema.member("properties")
	if properties == nil {
		return
	}
	if path != "" {
		path += "."
	}
	for _, p := range properties.order {
		target := r.resolve(p)
		key := Key{Path: path + p.name, Want: wanted(target), Meaning: meaning(p, target)}
		if value := first(p, target, "default"); value != nil {
			text, _ := json.Marshal(value.any()) // which was JSON before
			key.Default = string(text)
		}
		r.keys = append(r.keys, key)
		r.members(key.Path, target)
	}
}

// resolve follows a reference to a definition.
func (r *keyReader) resolve(schema *node) *node {
	if ref := schema.member("$ref"); ref != nil {
		return r.defs.member(strings.TrimPrefix(ref.text(), "#/$defs/"))
	}
	return schema
}

// first returns the keyword of the property itself, or else of what it refers to.
func first(property, target *node, keyword string) *node {
	if n := property.member(keyword); n != nil {
		return n
	}
	return target.member(keyword)
}

// meaning joins title and description.
func meaning(property, target *node) string {
	var sentences []string
	for _, keyword := range [...]string{"title", "description"} {
		if n := property.member(keyword); n != nil {
			sentences = append(sentences, strings.TrimSuffix(n.text(), ".")+".")
		} else if n := target.member(keyword); n != nil && property == target {
			sentences = append(sentences, strings.TrimSuffix(n.text(), ".")+".")
		}
	}
	return strings.Join(sentences, " ")
}

// wanted says what the value has to be.
func wanted(schema *node) string {
	if want := schema.member("x-want"); want != nil {
		return want.text()
	}
	if choices := schema.member("enum"); choices != nil {
		var values []string
		for _, c := range choices.order {
			values = append(values, fmt.Sprintf("%q", c.text()))
		}
		return strings.Join(values, ", ")
	}
	if value := schema.member("const"); value != nil {
		return fmt.Sprint(value.value)
	}
	kind := "value"
	if n := schema.member("type"); n != nil && n.kind == scalarValue {
		kind = n.text()
	}
	least, most := schema.member("minimum"), schema.member("maximum")
	switch {
	case least != nil && most != nil:
		return fmt.Sprintf("%s from %v to %v", kind, least.value, most.value)
	case least != nil:
		return fmt.Sprintf("%s of at least %v", kind, least.value)
	}
	return kind
}
