package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"runtime"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

func TestSchemasAreValid(t *testing.T) {
	for name, text := range map[string][]byte{"mirrors": MirrorsSchema(), "config": ServerSchema()} {
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		const draft = "https://json-schema.org/draft/2020-12/schema"
		if got := v.(map[string]any)["$schema"]; got != draft {
			t.Errorf("%s: $schema is %v, want %s", name, got, draft)
		}
		if err := jsonschema.NewCompiler().MustCompile(draft).Validate(v); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestWhileInMemory: what nothing uses any more is made again.
func TestWhileInMemory(t *testing.T) {
	compiled := 0
	get := whileInMemory(func() *rules {
		compiled++
		return compileRules(mirrorsSchema)
	})
	r := get()
	if get() != r || compiled != 1 {
		t.Errorf("compiled %d times while it is used", compiled)
	}
	runtime.KeepAlive(r)
	runtime.GC()
	if get() == nil || compiled != 2 {
		t.Errorf("compiled %d times, want another time once it is gone", compiled)
	}
}

// TestSchemasHaveWords: a complaint about any value can say what would be right, and no keyword is used
// whose complaints explain cannot put into words.
func TestSchemasHaveWords(t *testing.T) {
	known := map[string]bool{
		"$schema": true, "$id": true, "$ref": true, "$defs": true, "title": true, "description": true, "default": true,
		"examples": true,
		"x-want":   true, "x-hint": true, "x-secret": true, "type": true, "const": true, "enum": true, "required": true,
		"properties":           true,
		"additionalProperties": true, "items": true, "minItems": true, "maxItems": true, "minLength": true, "maxLength": true,
		"pattern": true, "minimum": true, "maximum": true, "exclusiveMinimum": true,
	}
	for _, r := range []*rules{poolRules(), serverRules()} {
		var walk func(at string, part map[string]any)
		walk = func(at string, part map[string]any) {
			for keyword := range part {
				if !known[keyword] {
					t.Errorf("%s: no words for the keyword %s", at, keyword)
				}
			}
			kind := part["type"]
			bounded := (part["minimum"] != nil || part["exclusiveMinimum"] != nil) && part["maximum"] != nil
			if text(part["x-want"]) == "" && (kind == "array" || (kind == "integer" || kind == "number") && !bounded ||
				part["pattern"] != nil) {
				t.Errorf("%s: no words for what is wanted", at)
			}
			for _, group := range []string{"properties", "$defs"} {
				parts, _ := part[group].(map[string]any)
				for key, p := range parts {
					walk(at+"/"+key, p.(map[string]any))
				}
			}
			if items, ok := part["items"].(map[string]any); ok {
				walk(at+"/items", items)
			}
		}
		walk(text(r.text["title"]), r.text)
	}
}

// TestSchemaDefaults: the defaults that the schema tells editors are those of the program, which a
// file shows that gives nothing but them.
func TestSchemaDefaults(t *testing.T) {
	r := serverRules()
	given := map[string]any{}
	for key := range r.text["properties"].(map[string]any) {
		section := r.property(r.text, key)
		properties, ok := section["properties"].(map[string]any)
		if !ok {
			raw := r.text["properties"].(map[string]any)[key].(map[string]any)
			if value, ok := raw["default"]; ok {
				given[key] = value
			}
			continue
		}
		object := map[string]any{}
		for name, p := range properties {
			if value, ok := p.(map[string]any)["default"]; ok {
				object[name] = value
			}
		}
		given[key] = object
	}
	mail := given["mail"].(map[string]any)
	watch := given["watch"].(map[string]any)
	delete(given, "mail") // without it, there is none
	delete(given, "watch")
	dns := given["dns"].(map[string]any)
	dns["zone"], dns["nameservers"] = "dl.example.org", []string{"ns1.example.org"}
	data, err := json.Marshal(given)
	if err != nil {
		t.Fatal(err)
	}
	fromSchema, _, err := ParseServer("x.json", data)
	if err != nil {
		t.Fatal(err)
	}
	fromNothing, _, err := ParseServer("x.json", []byte(least))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprintf("%+v", fromSchema), fmt.Sprintf("%+v", fromNothing); got != want {
		t.Errorf("defaults of the schema:\n%s\nof the program:\n%s", got, want)
	}
	if len(data) < 900 {
		t.Errorf("the schema has few defaults: %s", data)
	}
	mail["smtp"], mail["from"], mail["team"] = "smtp://localhost", "a@example.org", "b@example.org"
	data, err = json.Marshal(map[string]any{"dns": dns, "mail": mail})
	if err != nil {
		t.Fatal(err)
	}
	fromSchema, _, err = ParseServer("x.json", data)
	want := Mail{Server: "localhost:25", From: "a@example.org", Team: "b@example.org", After: time.Hour, Digest: 9 * time.Hour}
	if err != nil || *fromSchema.Mail != want {
		t.Errorf("mail: %+v, %v, want %+v", fromSchema.Mail, err, want)
	}
	if len(mail) < 5 {
		t.Errorf("the schema has few defaults of mail: %v", mail)
	}
	watch["name"], watch["key_file"] = "fra", "/key"
	data, err = json.Marshal(map[string]any{"dns": dns, "watch": watch})
	if err != nil {
		t.Fatal(err)
	}
	fromSchema, _, err = ParseServer("x.json", data)
	group := Watch{Name: "fra", Listen: "0.0.0.0:7946", KeyFile: "/key", Quorum: 0.5}
	if err != nil || !reflect.DeepEqual(*fromSchema.Watch, group) {
		t.Errorf("watch: %+v, %v, want %+v", fromSchema.Watch, err, group)
	}
}
