package dnssec

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// TestDescribe says what an administrator has to know of a key and its parent.
func TestDescribe(t *testing.T) {
	t.Parallel()
	k, err := read(testConfig(), "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	other, err := read(testConfig(), "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := k.All[0].DS(), other.All[0].DS()
	withdrawn := *k
	withdrawn.withdraw = true
	for name, test := range map[string]struct {
		keys              *Keys
		seen              *View
		problem           string
		known             bool
		ds                int // of ours
		wantProblem, next string
	}{
		"nothing seen":         {keys: k, ds: 1},
		"cannot be seen":       {keys: k, problem: "timeout", ds: 1, wantProblem: "timeout"},
		"no DS record":         {keys: k, seen: &View{At: testNow}, ds: 1},
		"ours":                 {keys: k, seen: &View{At: testNow, DS: []*dns.DS{ours}}, known: true, ds: 1},
		"ours and another":     {keys: k, seen: &View{At: testNow, DS: []*dns.DS{theirs, ours}}, known: true, ds: 1},
		"another":              {keys: k, seen: &View{At: testNow, DS: []*dns.DS{theirs}}, ds: 1, wantProblem: "name no key that signs the zone's DNSKEY records"},
		"another, and trouble": {keys: k, seen: &View{At: testNow, DS: []*dns.DS{theirs}}, problem: "timeout", ds: 1, wantProblem: "timeout"},
		"to be withdrawn": {keys: &withdrawn, seen: &View{At: testNow, DS: []*dns.DS{ours}}, known: true,
			next: "the parent is to remove its DS records"},
		"withdrawn": {keys: &withdrawn, seen: &View{At: testNow}, next: "dns.dnssec can be taken out"},
	} {
		s := test.keys.Describe(testNow, test.seen, test.problem)
		if len(s.Keys) != 1 || s.Keys[0].DS != test.known || len(s.DS) != test.ds || s.Zone != "dl.example.org" || s.Keys[0].State != Active ||
			!strings.Contains(s.Parent.Problem, test.wantProblem) || (test.wantProblem == "") != (s.Parent.Problem == "") ||
			!strings.Contains(s.Next, test.next) || (test.next == "") != (s.Next == "") {
			t.Errorf("%s: %+v", name, s)
		}
		if test.seen != nil && (len(s.Parent.DS) != len(test.seen.DS) || !s.Parent.Seen.Equal(testNow)) {
			t.Errorf("%s: %+v", name, s.Parent)
		}
	}
}

// TestDescribeListedKeys asks for a DS record of keys without times for CDS while they are active, and of no others.
func TestDescribeListedKeys(t *testing.T) {
	t.Parallel()
	at := func(hours int) time.Time { return testNow.Add(time.Duration(hours) * time.Hour) }
	k, err := read(testConfig(), "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	key := *k.All[0]
	for name, test := range map[string]struct {
		times Times
		ds    int
	}{
		"active":                     {Times{Publish: at(-1), Activate: at(-1)}, 1},
		"published":                  {Times{Publish: at(-1), Activate: at(1)}, 0},
		"retired":                    {Times{Publish: at(-2), Activate: at(-2), Inactive: at(-1)}, 0},
		"asked for ahead":            {Times{Publish: at(-1), Activate: at(1), SyncPublish: at(-1)}, 1},
		"asked for, not published":   {Times{Publish: at(1), Activate: at(2), SyncPublish: at(-1)}, 0},
		"active, not asked for yet":  {Times{Publish: at(-1), Activate: at(-1), SyncPublish: at(1)}, 0},
		"active, not asked for more": {Times{Publish: at(-1), Activate: at(-1), SyncPublish: at(-1), SyncDelete: at(0)}, 0},
	} {
		key.Times = test.times
		if s := k.with(&key).Describe(testNow, nil, ""); len(s.DS) != test.ds {
			t.Errorf("%s: %v, want %d", name, s.DS, test.ds)
		}
	}
}

// TestTroubleWithKeyFiles says that key files cannot be used, unless there is worse.
func TestTroubleWithKeyFiles(t *testing.T) {
	t.Parallel()
	s := Status{Expires: testNow.Add(24 * time.Hour), KeyFiles: "no space left on device"}
	if got := s.Trouble(testNow); !strings.Contains(got, "cannot be read or kept; those before sign on: no space") {
		t.Errorf("%q", got)
	}
	if s.Expires = testNow.Add(soon - time.Second); !strings.Contains(s.Trouble(testNow), "are not made anew") {
		t.Errorf("%q", s.Trouble(testNow))
	}
	if s.KeyFiles, s.Expires = "", testNow.Add(soon); s.Trouble(testNow) != "" {
		t.Errorf("%q", s.Trouble(testNow))
	}
}

// TestTroubleWithSigning says at once that the zone cannot be signed, with the cause, unless there is worse.
func TestTroubleWithSigning(t *testing.T) {
	t.Parallel()
	s := Status{Expires: testNow.Add(6 * 24 * time.Hour), Signing: "no key", KeyFiles: "no space left on device"}
	if got := s.Trouble(testNow); !strings.HasPrefix(got, "The zone cannot be signed") || !strings.HasSuffix(got, ": no key") {
		t.Errorf("%q", got)
	}
	if s.Expires = testNow.Add(-time.Hour); !strings.Contains(s.Trouble(testNow), "the first expired") {
		t.Errorf("%q", s.Trouble(testNow))
	}
	if s.Expires = (time.Time{}); s.Trouble(testNow) != "No signature of the zone could be made: no key" {
		t.Errorf("%q", s.Trouble(testNow))
	}
}

// TestProblems wants each problem once.
func TestProblems(t *testing.T) {
	t.Parallel()
	week := testNow.AddDate(0, 0, 7)
	parent := ParentStatus{DS: []string{"x"}, Problem: otherKeysProblem}
	cannotSign := "The zone cannot be signed; validators get the last signed version until its signatures expire: no key"
	for name, test := range map[string]struct {
		status Status
		want   []string
	}{
		"none":           {Status{Expires: week}, nil},
		"other keys":     {Status{Expires: week, Parent: parent}, []string{otherKeysProblem}},
		"cannot sign":    {Status{Expires: week, Signing: "no key"}, []string{cannotSign}},
		"both":           {Status{Expires: week, Signing: "no key", Parent: parent}, []string{cannotSign, otherKeysProblem}},
		"unseen":         {Status{Expires: week, Parent: ParentStatus{Problem: "no answer"}}, []string{"no answer"}},
		"key files":      {Status{Expires: week, KeyFiles: "gone"}, []string{"The zone's keys cannot be read or kept; those before sign on: gone"}},
		"nothing signed": {Status{Signing: "no key", KeyFiles: "gone"}, []string{"No signature of the zone could be made: no key", "gone"}},
	} {
		if got := test.status.Problems(testNow); !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

// TestTrusted wants a DS record of a key that has signed the DNSKEY records here: not of another server's, or of one
// that is not published yet.
func TestTrusted(t *testing.T) {
	t.Parallel()
	other := newSplitKey(t)
	c := testConfig()
	c.DNSSEC.OtherKeys = []string{other.kskAt + publicEnd}
	k, err := read(c, "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	alone, err := read(testConfig(), "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	rolled, err := alone.Roll("ED25519", testNow, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	next := rolled.All[len(rolled.All)-1]
	listed := newListedKeys(t, "K1", "K2", "K3")
	listed.set("K2", "Publish 0, Activate 9")
	listed.set("K3", "Publish 0, Activate 0, Inactive 0")
	keys, err := Read(testConfig(listed.files["K1"], listed.files["K2"], listed.files["K3"]), "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	ahead := newSplitKey(t)
	ahead.moveAway(t, ".1", testNow.Add(-time.Hour), 10, ahead.both()...)
	offline, err := Read(testConfig(ahead.kskAt, ahead.zskAt), "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	both := &View{At: testNow, DS: []*dns.DS{k.All[0].DS(), next.DS()}}
	if got := k.Describe(testNow, both, "").Parent.Problem; !strings.Contains(got, "no key of its algorithm ED25519") {
		t.Errorf("a DS record of another algorithm: %q", got)
	}
	for name, test := range map[string]struct {
		keys *Keys
		now  time.Time
		ds   *dns.DS
		want bool
	}{
		"signed ahead":            {offline, testNow, ahead.ksk.ToDS(dns.SHA256), true},
		"signed ahead, until now": {offline, testNow.AddDate(0, 0, 10), ahead.ksk.ToDS(dns.SHA256), true},
		"ours":                    {k, testNow, k.All[0].DS(), true},
		"another server's":        {k, testNow, other.ksk.ToDS(dns.SHA256), false},
		"not published yet":       {rolled, testNow, next.DS(), false},
		"published":               {rolled, testNow.Add(24 * time.Hour), next.DS(), true},
		"listed":                  {keys, testNow, listed.ds["K1"], true},
		"listed, published ahead": {keys, testNow, listed.ds["K2"], true},
		"listed, retired":         {keys, testNow, listed.ds["K3"], true},
		"while nothing can sign":  {k, testNow.AddDate(-100, 0, 0), k.All[0].DS(), false},
	} {
		s := test.keys.Describe(test.now, &View{At: test.now, DS: []*dns.DS{test.ds}}, "")
		if s.trusted() != test.want || (s.Parent.Problem == "") != test.want {
			t.Errorf("%s: trusted %v, problem %q", name, s.trusted(), s.Parent.Problem)
		}
	}
}

// TestMetrics wants a metric for what is known, and none for what is not.
func TestMetrics(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status Status
		want   map[string]float64
	}{
		"all": {Status{Expires: testNow, Made: 7, Parent: ParentStatus{Seen: testNow, DS: []string{"x"}}, Keys: []KeyStatus{{State: Active, DS: true, SignsKeys: true}, {State: Active}}},
			map[string]float64{"signature_expiry_timestamp_seconds": float64(testNow.Unix()), "signatures_total": 7, "ds_matches": 1,
				"key_files_ok": 1, "signing_ok": 1, "parent_seen_timestamp_seconds": float64(testNow.Unix()), "keys active": 2, "keys removed": 0}},
		"little": {Status{KeyFiles: "gone", Signing: "no key"}, map[string]float64{"signatures_total": 0, "key_files_ok": 0, "signing_ok": 0, "parent_seen_timestamp_seconds": 0, "keys active": 0, "keys removed": 0}},
	} {
		got := collect(t, &test.status)
		for metric, want := range test.want {
			if value, ok := got[metric]; !ok || value != want {
				t.Errorf("%s: %s is %v, want %v", name, metric, value, want)
			}
		}
		if _, ok := got["ds_matches"]; ok != (len(test.status.Parent.DS) > 0) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// A collected is a status as a collector.
type collected struct{ *Status }

func (collected) Describe(chan<- *prometheus.Desc) {}

func collect(t *testing.T, s *Status) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(collected{s}); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, family := range families {
		for _, m := range family.Metric {
			name := strings.TrimPrefix(family.GetName(), "mirrorpool_dnssec_")
			for _, label := range m.Label {
				name += " " + label.GetValue()
			}
			values[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return values
}
