// Package failure tells the first of a row of equal failures from the rest, so that something that is tried again and
// again logs each failure once, until it changes.
package failure

// A Last is the failure of the latest attempt, if it failed. It is not safe for concurrent use.
type Last struct{ text string }

// IsNew takes in the error of an attempt, nil if it succeeded, and reports whether it failed in another way than the
// attempt before.
func (l *Last) IsNew(err error) bool {
	before := l.text
	l.text = ""
	if err != nil {
		l.text = err.Error()
	}
	return l.text != "" && l.text != before
}
