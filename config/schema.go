package config

import (
	"bytes"
	_ "embed" // the schemas are files, so that editors can be pointed at them
	"fmt"
	"net/url"
	"strings"
	"sync"
	"weak"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// The schemas have three keywords of ours, which other validators pass over:
//
//	x-want    what would be right, in words that follow "want"
//	x-hint    what helps to get there
//	x-secret  true if the value must never be quoted
var (
	//go:embed schema/mirrors.schema.json
	mirrorsSchema []byte
	//go:embed schema/config.schema.json
	serverSchema []byte
)

// MirrorsSchema is the JSON Schema of mirrors.json (draft 2020-12).
func MirrorsSchema() []byte { return bytes.Clone(mirrorsSchema) }

// ServerSchema is the JSON Schema of mirrorpool.json (draft 2020-12).
func ServerSchema() []byte { return bytes.Clone(serverSchema) }

var (
	poolRules   = sync.OnceValue(func() *rules { return compileRules(mirrorsSchema) })
	serverRules = whileInMemory(func() *rules { return compileRules(serverSchema) })
)

// whileInMemory returns a function that returns what compile has returned, until the collector has taken that: then it
// calls compile again. The configuration is read at the start and in a reload, and its schema takes most of a megabyte
// meanwhile, where a server with few mirrors has four in use.
func whileInMemory(compile func() *rules) func() *rules {
	var mu sync.Mutex
	var latest weak.Pointer[rules]
	return func() *rules {
		mu.Lock()
		defer mu.Unlock()
		r := latest.Value()
		if r == nil {
			r = compile()
			latest = weak.Make(r)
		}
		return r
	}
}

// rules are a schema twice: compiled, and as it is written, for its words.
type rules struct {
	compiled *jsonschema.Schema
	text     map[string]any
}

// compileRules panics if the schema is broken, since it is part of the program.
func compileRules(text []byte) *rules {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		panic(fmt.Sprintf("config: embedded schema: %v", err))
	}
	r := &rules{text: v.(map[string]any)}
	id := r.text["$id"].(string)
	c := jsonschema.NewCompiler()
	c.UseLoader(jsonschema.SchemeURLLoader{}) // a schema of ours refers to nothing outside
	if err := c.AddResource(id, v); err != nil {
		panic(fmt.Sprintf("config: embedded schema: %v", err))
	}
	if r.compiled, err = c.Compile(id); err != nil {
		panic(fmt.Sprintf("config: embedded schema: %v", err))
	}
	return r
}

// part is the piece of the schema that a location such as "urn:x#/$defs/mirror" means, or nil.
func (r *rules) part(location string) map[string]any {
	_, fragment, _ := strings.Cut(location, "#")
	if unescaped, err := url.PathUnescape(fragment); err == nil {
		fragment = unescaped
	}
	part := r.text
	for step := range strings.SplitSeq(strings.TrimPrefix(fragment, "/"), "/") {
		if step == "" {
			continue
		}
		part, _ = part[unescapePointer.Replace(step)].(map[string]any)
	}
	return part
}

// property is what the schema says of a key of an object, with references followed, or nil.
func (r *rules) property(object map[string]any, key string) map[string]any {
	properties, _ := object["properties"].(map[string]any)
	property, _ := properties[key].(map[string]any)
	return r.follow(property)
}

// follow gives the piece that part refers to, or part itself.
func (r *rules) follow(part map[string]any) map[string]any {
	if ref, ok := part["$ref"].(string); ok {
		return r.part(ref)
	}
	return part
}
