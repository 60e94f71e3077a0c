package admin

import (
	"fmt"
	"time"
)

// A CertificateStatus is one certificate of the redirector.
type CertificateStatus struct {
	Name    string     `json:"name"`
	Expires *time.Time `json:"expires"` // null while there is none
	Soon    bool       `json:"soon"`    // it ends soon, and should have been renewed
	Problem string     `json:"problem"` // why it could not be obtained or renewed the last time, or ""
}

// Trouble is what a person has to know of the certificate, or "".
func (c *CertificateStatus) Trouble() string {
	var text string
	switch {
	case c.Expires == nil:
		text = fmt.Sprintf("There is no certificate for %s yet, so that https does not answer for it", c.Name)
	case c.Soon:
		text = fmt.Sprintf("The redirector's certificate for %s ends at %s, and has not been renewed", c.Name,
			c.Expires.UTC().Format("2006-01-02 15:04 MST"))
	default:
		return ""
	}
	if c.Problem != "" {
		return text + ": " + c.Problem
	}
	return text + "."
}
