package admin

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"mirrorpool/health/files/verify"
)

// A Verification is what is known of the bytes of mirrors' files.
type Verification struct {
	Counts  verify.Counts                  `json:"reads"`   // since the start
	Files   int                            `json:"files"`   // that are to be verified; 0 if none is
	Mirrors map[string]verify.MirrorReport `json:"mirrors"` // by url_prefix
}

const untilRead = "it serves nothing until all its files have been read again without a fault, or 'mirrorpool pardon'"

// problems tells which mirrors have corrupt files, or had some and serve nothing yet.
func (v *Verification) problems() (texts []string) {
	for _, prefix := range slices.Sorted(maps.Keys(v.Mirrors)) {
		m := v.Mirrors[prefix]
		if len(m.Corrupt) == 0 && m.Condemned != nil {
			texts = append(texts, fmt.Sprintf("%s had corrupt files, such as %s; %s.", prefix, m.Condemned.Path, untilRead))
		}
		if len(m.Corrupt) == 0 {
			continue
		}
		text := fmt.Sprintf("%s has %s, which it does not serve: %s", prefix, plural(len(m.Corrupt), "corrupt file", "corrupt files"),
			m.Corrupt[0].Path)
		if len(m.Corrupt) > 1 {
			text += " and others"
		}
		if m.Condemned != nil {
			text += "; " + untilRead
		}
		texts = append(texts, text+".")
	}
	return texts
}

// Text says what is known of a mirror's copies: "412 of 500 files verified, sends 11.3 MB/s". It is empty if nothing is
// known.
func (v *Verification) Text(urlPrefix string) string {
	m, ok := v.Mirrors[urlPrefix]
	var parts []string
	for _, found := range m.Corrupt {
		if len(parts) == maxCorruptShown {
			parts = append(parts, fmt.Sprintf("%d more", len(m.Corrupt)-maxCorruptShown))
			break
		}
		parts = append(parts, "corrupt: "+found.Path)
	}
	if ok && v.Files > 0 { // none verified is news, too: that mirror may send no copy to its end
		parts = append(parts, fmt.Sprintf("%d of %s verified", m.Verified, plural(v.Files, "file", "files")))
	}
	if m.Speed > 0 {
		parts = append(parts, fmt.Sprintf("sends %.1f MB/s", m.Speed/1e6))
	}
	return strings.Join(parts, ", ")
}

// maxCorruptShown is how many corrupt files of a mirror are named.
const maxCorruptShown = 3

// verificationFamilies describe the verification of mirrors' files.
var verificationFamilies = []family{
	verificationFamily("mirror_files_verified", "Files of a mirror that were read whole in this round, and are good.",
		func(m *verify.MirrorReport) (float64, bool) { return float64(m.Verified), true }),
	verificationFamily("mirror_files_corrupt", "Files of a mirror whose bytes are wrong.",
		func(m *verify.MirrorReport) (float64, bool) { return float64(len(m.Corrupt)), true }),
	verificationFamily("mirror_throughput_bytes_per_second", "How fast a mirror sends, at the median of its latest reads.",
		func(m *verify.MirrorReport) (float64, bool) { return m.Speed, m.Speed > 0 }),
}

// verificationFamily is the family of a value of each mirror, where it is known.
func verificationFamily(name, help string, value func(m *verify.MirrorReport) (v float64, known bool)) family {
	return family{name, help, []string{"mirror"}, func(s *Status, b *gaugeBuffer) {
		for prefix, m := range s.Verification.Mirrors {
			if v, known := value(&m); known {
				b.add(v, strings.ToValidUTF8(prefix, "\uFFFD"))
			}
		}
	}}
}

var (
	readsDesc = prometheus.NewDesc(namespace+"verification_reads_total",
		"Reads of mirrors' files: whole ones that were good, corrupt or broken off, and ranges.", []string{"result"}, nil)
	readBytesDesc = prometheus.NewDesc(namespace+"verification_bytes_total", "Bytes read from mirrors to verify their files.", nil, nil)
)

// CollectReads sends how much was read to verify mirrors' files.
func CollectReads(c verify.Counts, ch chan<- prometheus.Metric) {
	for result, n := range map[string]uint64{"good": c.Good, "corrupt": c.Corrupt, "broken": c.Broken, "range": c.Samples} {
		ch <- prometheus.MustNewConstMetric(readsDesc, prometheus.CounterValue, float64(n), result)
	}
	ch <- prometheus.MustNewConstMetric(readBytesDesc, prometheus.CounterValue, float64(c.Bytes))
}
