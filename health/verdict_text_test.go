package health

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestStateAndRoleNames(t *testing.T) {
	in := map[State]Role{Unknown: HTTP, Up: DNS, Stale: Rsync}
	text, err := json.Marshal(in)
	if err != nil || string(text) != `{"stale":"rsync","unknown":"http","up":"dns"}` {
		t.Fatalf("%s, %v", text, err)
	}
	var out map[State]Role
	if err := json.Unmarshal(text, &out); err != nil || out[Stale] != Rsync || out[Up] != DNS {
		t.Errorf("read back: %v, %v", out, err)
	}
	if err := json.Unmarshal([]byte(`{"up":"ftp"}`), &out); err == nil || !strings.Contains(err.Error(), `unknown role "ftp"`) {
		t.Errorf("unknown role: %v", err)
	}
	if err := json.Unmarshal([]byte(`{"weird":"http"}`), &out); err == nil ||
		!strings.Contains(err.Error(), `unknown state "weird"`) {
		t.Errorf("unknown state: %v", err)
	}
	if s := State(9).String() + Role(9).String(); s != "State(9)Role(9)" {
		t.Errorf("names of what does not exist: %s", s)
	}
}

func TestForSelection(t *testing.T) {
	for v, want := range map[Verdict]State{
		{}: Unknown, {State: Up}: Up, {State: Stale}: Stale, {State: Down}: Down,
		{From: Up}: Unknown, {From: Stale}: Stale, {From: Down}: Down,
	} {
		if got := v.ForSelection(); got != want {
			t.Errorf("%v, from %v: stands as %v, want %v", v.State, v.From, got, want)
		}
	}
}

// TestTLSWarning: only an answer of the mirror says whether its TLS is worth a warning.
func TestTLSWarning(t *testing.T) {
	p := Policy{Rise: 1, Fall: 1, Interval: time.Minute, Timeout: time.Second}
	const old = "RSA key exchange"
	for _, test := range []struct {
		result     State
		seen, want string
	}{
		{Up, old, old}, {Stale, old, old}, {Up, "", ""}, {Stale, "", ""}, {Down, "", old}, {Unknown, "", old},
	} {
		v := Verdict{}
		if test.seen == "" {
			v.TLSWarning = old
		}
		if v = v.Next(Observation{Result: test.result, At: hours(1), TLSWarning: test.seen}, p); v.TLSWarning != test.want {
			t.Errorf("%v with %q: %q, want %q", test.result, test.seen, v.TLSWarning, test.want)
		}
	}
}
