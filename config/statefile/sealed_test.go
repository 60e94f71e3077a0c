package statefile

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var testFormat = Format{Kind: "mirrorpool-test", Version: 2, Limit: 100}

func TestUnseal(t *testing.T) {
	t.Parallel()
	var sealed bytes.Buffer
	if err := testFormat.Seal(&sealed, []byte("a body\nof two lines")); err != nil {
		t.Fatal(err)
	}
	text := sealed.String()
	for name, test := range map[string]struct{ text, want string }{
		"as written":      {text, ""},
		"cut":             {text[:len(text)-1], "checksum does not match"},
		"edited":          {strings.Replace(text, "body", "bodY", 1), "checksum does not match"},
		"another version": {strings.Replace(text, "test 2", "test 1", 1), "another version"},
		"another kind":    {strings.Replace(text, "-test", "-tesT", 1), "not a file of mirrorpool-test"},
		"empty":           {"", "not a file of mirrorpool-test"},
		"no line":         {strings.Repeat("x", 99), "not a file of mirrorpool-test"},
		"too long":        {text + strings.Repeat("x", 100), "more than 100 bytes"},
	} {
		body, err := testFormat.Unseal(strings.NewReader(test.text))
		if test.want == "" && (err != nil || string(body) != "a body\nof two lines") {
			t.Errorf("%s: %q, %v", name, body, err)
		}
		if test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: error %v, want %q", name, err, test.want)
		}
	}
}

// TestUnsealNoticesEachByte changes and cuts a sealed text at each of its bytes.
func TestUnsealNoticesEachByte(t *testing.T) {
	t.Parallel()
	var sealed bytes.Buffer
	if err := testFormat.Seal(&sealed, []byte(`{"a": "body"}`)); err != nil {
		t.Fatal(err)
	}
	good := sealed.Bytes()
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x20
		if _, err := testFormat.Unseal(bytes.NewReader(bad)); err == nil {
			t.Errorf("byte %d is wrong, and accepted", i)
		}
		if _, err := testFormat.Unseal(bytes.NewReader(good[:i])); err == nil {
			t.Errorf("cut after %d bytes, and accepted", i)
		}
	}
}

func TestFormatFiles(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state")
	got := ""
	use := func(body []byte) error { got = string(body); return nil }
	if err := testFormat.Load(path, use); err != nil {
		t.Errorf("that there is no file is an error: %v", err)
	}
	if err := testFormat.Replace(path, []byte("body")); err != nil {
		t.Fatal(err)
	}
	for _, load := range []func(string, func([]byte) error) error{testFormat.Load, testFormat.Read} {
		if got = ""; load(path, use) != nil || got != "body" {
			t.Errorf("%q is read", got)
		}
	}
	if err := testFormat.Read(path+".none", use); err != nil {
		t.Errorf("that there is no file is an error: %v", err)
	}
	if err := os.WriteFile(path, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := testFormat.Read(path, use); err == nil || !strings.Contains(err.Error(), path+": not a file of mirrorpool-test") {
			t.Errorf("error %v, want that the file is not one", err)
		}
	}
	if err := testFormat.Load(path, use); err == nil || !strings.Contains(err.Error(), "set aside as "+path+Aside) {
		t.Errorf("error %v, want that it is set aside", err)
	}
}
