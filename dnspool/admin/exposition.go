package admin

import (
	"math"
	"strconv"
	"strings"
)

// An exposition is text in the format that Prometheus reads (version 0.0.4).
//
// client_golang makes an object of each number, checks it and sorts it among all others, which for the 20,000 numbers of
// 1,000 mirrors takes as much time as to answer 500,000 queries. What is written here needs no such care: it comes from
// one loop in which no name or label can come twice.
type exposition struct{ text []byte }

// family begins a metric. kind is "gauge" or "counter". All its samples have to follow it.
func (e *exposition) family(name, kind, help string) *family {
	return &family{exposition: e, name: namespace + name, kind: kind, help: help}
}

const namespace = "mirrorpool_"

// A family is a metric, which appears with its first sample.
type family struct {
	*exposition
	name, kind, help string
	begun            bool
}

// labelEscapes are what a label's value cannot hold as it is.
var labelEscapes = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

// labels returns names and values, which come in turn, as they stand in front of a number, less the braces.
func labels(pairs ...string) string {
	var text strings.Builder
	for i := 0; i+1 < len(pairs); i += 2 {
		if i > 0 {
			text.WriteByte(',')
		}
		text.WriteString(pairs[i] + `="`)
		labelEscapes.WriteString(&text, strings.ToValidUTF8(pairs[i+1], "\uFFFD"))
		text.WriteByte('"')
	}
	return text.String()
}

// add adds a sample, with labels made by labels, in two parts for those who share the first.
func (f *family) add(value float64, labels, more string) {
	if !f.begun {
		f.begun = true
		f.text = append(f.text, "# HELP "+f.name+" "+f.help+"\n# TYPE "+f.name+" "+f.kind+"\n"...)
	}
	f.text = append(f.text, f.name...)
	if labels != "" {
		f.text = append(append(append(append(f.text, '{'), labels...), more...), '}')
	}
	f.text = append(f.text, ' ')
	if value == math.Trunc(value) && math.Abs(value) < 1<<53 {
		f.text = strconv.AppendInt(f.text, int64(value), 10) // much faster than the general case
	} else {
		f.text = strconv.AppendFloat(f.text, value, 'g', -1, 64)
	}
	f.text = append(f.text, '\n')
}
