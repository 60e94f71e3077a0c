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
	Problem string     `json:"problem"` // one line: why the latest attempt to obtain or renew it failed, or ""
}

// Trouble is what an administrator has to know of the certificate, or "".
func (c *CertificateStatus) Trouble(now time.Time) string {
	var text string
	switch {
	case c.Expires == nil:
		text = fmt.Sprintf("There is no certificate by ACME for %s yet", c.Name)
	case !now.Before(*c.Expires):
		text = fmt.Sprintf("The redirector's certificate for %s has ended at %s; clients refuse it", c.Name,
			c.Expires.UTC().Format("2006-01-02 15:04 MST"))
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
