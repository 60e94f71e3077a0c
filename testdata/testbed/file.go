package testbed

import (
	"encoding/json"
	"os"
	"testing"
)

// Put writes a value as JSON, or a string or bytes as they are, to a file. As an editor would, it puts the new file in
// place of the old one at once.
func Put(t testing.TB, path string, value any) {
	t.Helper()
	text, err := fileText(value)
	if err == nil {
		err = os.WriteFile(path+".new", text, 0o644)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func fileText(value any) ([]byte, error) {
	switch value := value.(type) {
	case string:
		return []byte(value), nil
	case []byte:
		return value, nil
	default:
		return json.MarshalIndent(value, "", "  ")
	}
}
