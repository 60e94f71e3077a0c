package admin

import (
	"bytes"
	"io"
	"net/http"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

// namespace begins the names of all metrics.
const namespace = "mirrorpool_"

// maxScrapes is how many scrapes may be under way.
const maxScrapes = 4

// metricsHandler serves /metrics: the metrics of the faces and of the Go runtime, and the status.
//
// The metrics are made from the status at each scrape, so that the two cannot differ, and what is gone from the pool is
// gone from the metrics. They are not compressed, which would take longer than all the rest.
func metricsHandler(b Backend) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(faceCollector(b.Collect), collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	scrapes := make(chan struct{}, maxScrapes)
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		select {
		case scrapes <- struct{}{}:
			defer func() { <-scrapes }()
		default:
			http.Error(w, "too many scrapes at once", http.StatusServiceUnavailable)
			return
		}
		families, err := registry.Gather()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		status := b.Status()
		w.Header().Set("Content-Type", string(expfmt.NewFormat(expfmt.TypeTextPlain)))
		for _, f := range families {
			if _, err := expfmt.MetricFamilyToText(w, f); err != nil {
				return // the client is gone
			}
		}
		writeStatusMetrics(w, &status)
	})
}

// A faceCollector collects the metrics of the faces.
type faceCollector func(chan<- prometheus.Metric)

// Describe sends nothing: which metrics there are depends on what is configured.
func (faceCollector) Describe(chan<- *prometheus.Desc) {}

// Collect sends the metrics as they are now.
func (c faceCollector) Collect(ch chan<- prometheus.Metric) {
	if c != nil {
		c(ch)
	}
}

// A family is a metric of the status.
type family struct {
	name, help string
	labels     []string // sorted
	collect    func(s *Status, b *gaugeBuffer)
}

// writeStatusMetrics writes the status as metrics, a part at a time: all at once would be 20 KB for each mirror.
func writeStatusMetrics(w io.Writer, s *Status) {
	buffer := &gaugeBuffer{w: w}
	for _, families := range [...][]family{poolFamilies, groupFamilies, mirrorFamilies, endpointFamilies, fileFamilies, verificationFamilies, watchFamilies} {
		for i := range families {
			buffer.begin(&families[i])
			families[i].collect(s, buffer)
			if buffer.flush() != nil {
				return // the client is gone
			}
		}
	}
}

// gaugeBatch is how many gauges are written at once.
const gaugeBatch = 256

// A gaugeBuffer writes families of gauges in batches, for the library would have a family as a whole.
type gaugeBuffer struct {
	w       io.Writer
	family  dto.MetricFamily
	labels  []string      // of the family
	gauges  []*dto.Metric // to be used again; as many as were needed so far
	n       int           // of gauges, how many are to be written
	written bool          // a batch of this family was
	text    bytes.Buffer
	err     error
}

func (b *gaugeBuffer) begin(f *family) {
	name := namespace + f.name
	b.family = dto.MetricFamily{Name: &name, Help: &f.help, Type: dto.MetricType_GAUGE.Enum()}
	b.labels, b.written = f.labels, false
}

// add takes one value, with those of the labels.
func (b *gaugeBuffer) add(value float64, labels ...string) {
	if b.n == len(b.gauges) {
		b.gauges = append(b.gauges, &dto.Metric{Gauge: &dto.Gauge{Value: new(float64)}})
	}
	m := b.gauges[b.n]
	*m.Gauge.Value = value
	m.Label = slices.Grow(m.Label[:0], len(labels))[:len(labels)] // with what earlier families have left there
	for i, label := range labels {
		if m.Label[i] == nil {
			m.Label[i] = &dto.LabelPair{Value: new(string)}
		}
		m.Label[i].Name, *m.Label[i].Value = &b.labels[i], label
	}
	if b.n++; b.n == gaugeBatch {
		b.flush()
	}
}

// flush writes what is left, and returns the first error.
func (b *gaugeBuffer) flush() error {
	if b.n == 0 || b.err != nil {
		b.n = 0
		return b.err
	}
	b.family.Metric, b.n = b.gauges[:b.n], 0
	b.text.Reset()
	if _, b.err = expfmt.MetricFamilyToText(&b.text, &b.family); b.err != nil {
		return b.err
	}
	text := b.text.Bytes()
	if b.written {
		for range 2 { // HELP and TYPE were written before
			_, text, _ = bytes.Cut(text, []byte{'\n'})
		}
	}
	b.written = true
	_, b.err = b.w.Write(text)
	return b.err
}
