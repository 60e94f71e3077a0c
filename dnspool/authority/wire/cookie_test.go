package wire

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"testing"
	"time"
)

var (
	testNow  = time.Unix(1_800_000_000, 0)
	testAddr = netip.MustParseAddr("192.0.2.7")
)

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// TestCookieVectors has the examples of RFC 9018, appendix A.
func TestCookieVectors(t *testing.T) {
	t.Parallel()
	const (
		secret = "e5e973e5a6b2a43f48e7dc849e37bfcf"
		rolled = "445536bcd2513298075a5d379663c962"
		old    = "dd3bdf9344b678b185a6f5cb60fca715"
	)
	tests := map[string]struct {
		secrets    []string
		addr       string
		now        int64
		shown, got string
	}{
		"A.1, learning a new one": {[]string{secret}, "198.51.100.100", 1559731985, "2464c4abcf10c957",
			"2464c4abcf10c957010000005cf79f111f8130c3eee29480"},
		"A.2, renewing it": {[]string{secret}, "198.51.100.100", 1559734385, "2464c4abcf10c957010000005cf79f111f8130c3eee29480",
			"2464c4abcf10c957010000005cf7a871d4a564a1442aca77"},
		"A.3, another client": {[]string{secret}, "203.0.113.203", 1559734700, "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5",
			"fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e"},
		"A.4, learning one of the new secret": {[]string{rolled, old}, "2001:db8:220:1:59de:d0f4:8769:82b8", 1559741961,
			"22681ab97d52c298010000005cf7c57926556bd0934c72f8", "22681ab97d52c298010000005cf7c609a6bb79d16625507a"},
	}
	for name, test := range tests {
		got := NewCookieJar(test.secrets).AppendTo(nil, unhex(t, test.shown), netip.MustParseAddr(test.addr), time.Unix(test.now, 0))
		if hex.EncodeToString(got) != test.got {
			t.Errorf("%s: got %x, want %s", name, got, test.got)
		}
	}
	// A.3 has a cookie with reserved bits set, which count as they are.
	shown := unhex(t, "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5")
	if age, ok := NewCookieJar([]string{secret}).Valid(shown, netip.MustParseAddr("203.0.113.203"),
		time.Unix(1559727985, 0)); !ok || age != 0 {
		t.Errorf("A.3: valid %v, age %v", ok, age)
	}
	if age, ok := NewCookieJar([]string{rolled, old}).Valid(unhex(t, tests["A.4, learning one of the new secret"].shown),
		netip.MustParseAddr("2001:db8:220:1:59de:d0f4:8769:82b8"), time.Unix(1559741961, 0)); !ok || age != 144*time.Second {
		t.Errorf("A.4: valid under the old secret %v, age %v", ok, age)
	}
}

func TestCookieLife(t *testing.T) {
	t.Parallel()
	jar, addr := RandomCookieJar(), netip.MustParseAddr("2001:db8::7")
	cookie := jar.AppendTo(nil, []byte("client!!"), addr, testNow)
	for _, test := range []struct {
		after       time.Duration
		good, young bool
	}{{0, true, true}, {29 * time.Minute, true, true}, {31 * time.Minute, true, false}, {time.Hour, true, false},
		{time.Hour + time.Second, false, false},
		{-5 * time.Minute, true, false}, {-6 * time.Minute, false, false}} {
		now := testNow.Add(test.after)
		if _, ok := jar.Valid(cookie, addr, now); ok != test.good {
			t.Errorf("%v later: valid %v", test.after, ok)
		}
		if same := bytes.Equal(jar.AppendTo(nil, cookie, addr, now), cookie); same != test.young {
			t.Errorf("%v later: given back %v", test.after, same)
		}
	}
	for name, bad := range map[string]struct {
		jar    CookieJar
		cookie []byte
		addr   netip.Addr
	}{
		"another address": {jar, cookie, netip.MustParseAddr("2001:db8::8")},
		"another secret":  {RandomCookieJar(), cookie, addr},
		"a bit":           {jar, append(bytes.Clone(cookie[:23]), cookie[23]^1), addr},
		"another client":  {jar, append([]byte("clienT!!"), cookie[8:]...), addr},
		"version 2":       {jar, append(append(bytes.Clone(cookie[:8]), 2), cookie[9:]...), addr},
		"no server's":     {jar, cookie[:8], addr},
		"too long":        {jar, append(bytes.Clone(cookie), 0), addr},
		"none":            {jar, nil, addr},
	} {
		if _, ok := bad.jar.Valid(bad.cookie, bad.addr, testNow); ok {
			t.Errorf("%s: taken for valid", name)
		}
	}
	if _, ok := append(RandomCookieJar(), jar...).Valid(cookie, addr, testNow); !ok {
		t.Error("not valid after another secret took over")
	}
}

// FuzzCookie looks for a cookie that is taken without having been given, and for one that is given and not taken.
func FuzzCookie(f *testing.F) {
	jar := NewCookieJar([]string{"e5e973e5a6b2a43f48e7dc849e37bfcf"})
	f.Add([]byte("client!!"), []byte{192, 0, 2, 1}, int64(0))
	f.Add(jar.AppendTo(nil, []byte("client!!"), testAddr, testNow), testAddr.AsSlice(), int64(60))
	f.Fuzz(func(t *testing.T, cookie, ip []byte, later int64) {
		addr, ok := netip.AddrFromSlice(ip)
		if !ok || !CookieShaped(cookie) {
			return
		}
		now := testNow.Add(time.Duration(later % int64(2*time.Hour)))
		given := jar.AppendTo(nil, cookie, addr, now)
		if age, ok := jar.Valid(given, addr, now); !ok || age < 0 || age >= CookieYoung || !bytes.Equal(given[:8], cookie[:8]) {
			t.Fatalf("%x was given for %x, and is not good", given, cookie)
		}
		age, ok := jar.Valid(cookie, addr, now)
		if made := now.Add(-age); ok && !bytes.Equal(jar.AppendTo(nil, cookie[:8], addr, made)[12:16], cookie[12:16]) {
			t.Fatalf("%x is taken for a cookie of %v", cookie, made)
		}
	})
}
