package tsig

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"mirrorpool/config/safefile"
)

const (
	maxFile = 64 << 10 // bytes
	maxKeys = 1000     // in a file
)

// Load reads the key files at the given paths. The same name twice is an error.
//
// A file holds `key "NAME" { algorithm ALGORITHM; secret "BASE64"; };`, once or more often, with BIND's comments. It
// has to be a secret as [safefile.ReadSecret] defines it. No error quotes a secret.
func Load(paths ...string) (*Ring, error) {
	ring := map[string]*Key{}
	for _, path := range paths {
		keys, err := loadFile(path)
		if err != nil {
			return nil, err
		}
		for _, k := range keys {
			if ring[k.Name] != nil {
				return nil, fmt.Errorf("%s: the key %q is in a key file already", path, k.Name)
			}
			ring[k.Name] = k
		}
	}
	return newRing(ring), nil
}

// LoadOne reads a file that holds one key.
func LoadOne(path string) (*Key, error) {
	keys, err := loadFile(path)
	if err != nil {
		return nil, err
	}
	if len(keys) != 1 {
		return nil, fmt.Errorf("%s: want one key, got %d", path, len(keys))
	}
	return keys[0], nil
}

func loadFile(path string) ([]*Key, error) {
	text, err := safefile.ReadSecret(path, maxFile)
	if err != nil {
		return nil, fmt.Errorf("cannot read a key file: %w", err)
	}
	keys, err := parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s:%w", path, err)
	}
	return keys, nil
}

// A parser reads tokens. After an error, line is where it is.
type parser struct {
	rest string
	line int // of the latest token, from 1
	err  error
}

// parse reads the text of a key file. An error begins with the line.
func parse(text string) ([]*Key, error) {
	p := &parser{rest: text, line: 1}
	var keys []*Key
	for token := p.next(); token != "" && p.err == nil; token = p.next() {
		if token != "key" {
			p.fail(`want a key, such as: key "NAME" { algorithm hmac-sha256; secret "BASE64"; };`)
			break
		}
		k := p.key()
		if len(keys) == maxKeys {
			p.fail("want at most %d keys", maxKeys)
		}
		keys = append(keys, k)
	}
	if p.err == nil && len(keys) == 0 {
		p.fail("has no key")
	}
	if p.err != nil {
		return nil, fmt.Errorf("%d: %w", p.line, p.err)
	}
	return keys, nil
}

// key reads a key from behind its first word.
func (p *parser) key() *Key {
	name := p.word("the key's name")
	p.want("{")
	var algorithm, secret string
	for {
		token := p.next()
		if token == "}" || p.err != nil {
			break
		}
		switch {
		case token == "algorithm" && algorithm == "":
			algorithm = p.word("an algorithm")
		case token == "secret" && secret == "":
			secret = p.word("a secret")
		default: // not quoted: it may be part of a secret
			p.fail("want algorithm and secret, once each, and then }")
		}
		p.want(";")
	}
	p.want(";")
	raw, err := base64.StdEncoding.DecodeString(secret)
	switch {
	case p.err != nil:
		return nil
	case algorithm == "":
		p.fail("the key %q has no algorithm", name)
		return nil
	case err != nil:
		p.fail("the secret of the key %q is not in base64", name)
		return nil
	}
	k, err := NewKey(name, algorithm, raw)
	if err != nil {
		p.fail("%v", err)
	}
	return k
}

// fail notes an error, unless there is one.
func (p *parser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf(format, args...)
	}
}

// want reads a token that has to be there.
func (p *parser) want(token string) {
	if p.next() != token {
		p.fail("want %q", token)
	}
}

// word reads a token that is no punctuation.
func (p *parser) word(what string) string {
	token := p.next()
	if token == "" || strings.Contains("{};", token) {
		p.fail("want %s", what)
	}
	return token
}

// next returns the next token without its quotes, or "" at the end.
func (p *parser) next() string {
	if p.err != nil {
		return ""
	}
	if err := p.skip(); err != nil {
		p.err = err
		return ""
	}
	var token string
	switch {
	case p.rest == "":
		return ""
	case strings.ContainsRune("{};", rune(p.rest[0])):
		token, p.rest = p.rest[:1], p.rest[1:]
	case p.rest[0] == '"':
		end := strings.IndexAny(p.rest[1:], "\"\n")
		if end <= 0 || p.rest[1+end] == '\n' {
			p.fail("want something in quotes, on one line")
			return ""
		}
		token, p.rest = p.rest[1:1+end], p.rest[end+2:]
	default:
		end := strings.IndexAny(p.rest, " \t\r\n{};\"#")
		if end < 0 {
			end = len(p.rest)
		}
		if end == 0 { // a "#" that begins no comment cannot be: skip has taken those
			end = 1
		}
		token, p.rest = p.rest[:end], p.rest[end:]
	}
	return token
}

// skip skips white space and comments: // and # to the end of the line, and /* to */.
func (p *parser) skip() error {
	for p.rest != "" {
		end := 0
		switch {
		case strings.ContainsRune(" \t\r\n", rune(p.rest[0])):
			end = 1
		case p.rest[0] == '#', strings.HasPrefix(p.rest, "//"):
			if end = strings.IndexByte(p.rest, '\n'); end < 0 {
				end = len(p.rest)
			}
		case strings.HasPrefix(p.rest, "/*"):
			end = strings.Index(p.rest[2:], "*/") + 4
			if end < 4 {
				return errors.New("a comment does not end")
			}
		default:
			return nil
		}
		p.line += strings.Count(p.rest[:end], "\n")
		p.rest = p.rest[end:]
	}
	return nil
}
