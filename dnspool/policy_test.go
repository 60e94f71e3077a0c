package dnspool

import (
	"reflect"
	"testing"

	"mirrorpool/config"
)

// TestPolicyOf: each part of a policy comes from the configuration.
func TestPolicyOf(t *testing.T) {
	t.Parallel()
	c, _, err := config.ParseServer("mirrorpool.json", []byte(`{
		"dns": {"zone": "dl.example.org", "nameservers": ["ns1.example.org"], "geo": true}, "selection": {"max_load": 0.4}}`))
	if err != nil {
		t.Fatal(err)
	}
	p := PolicyOf(c)
	for _, part := range []reflect.Value{reflect.ValueOf(p), reflect.ValueOf(p.Selection)} {
		for i := range part.NumField() {
			if part.Field(i).IsZero() {
				t.Errorf("%s is %v", part.Type().Field(i).Name, part.Field(i))
			}
		}
	}
}
