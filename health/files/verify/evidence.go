package verify

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"go.uber.org/zap"

	"mirrorpool/config/statefile"
)

const (
	maxEvidence         = 100 // files that are kept, the newest ones
	maxEvidenceOfMirror = 10  // likewise of one mirror, so that it leaves room for others
	maxShown            = 64  // bytes of a difference
)

// An evidence is what is kept of a proof that a copy is corrupt.
type evidence struct {
	Mirror  string     `json:"mirror"`
	Address netip.Addr `json:"address"`
	At      time.Time  `json:"at"`
	Finding
	WantBytes   string `json:"want_bytes,omitempty"`  // in hexadecimal digits, from the offset on
	FoundBytes  string `json:"found_bytes,omitempty"` // likewise
	Certificate string `json:"certificate,omitempty"` // of the mirror, in PEM
}

// showDifference shows the first bytes that differ.
func (e *evidence) showDifference(want, found []byte) {
	for i := range min(len(want), len(found)) {
		if want[i] != found[i] {
			e.Offset += int64(i)
			e.WantBytes = hex.EncodeToString(want[i:min(i+maxShown, len(want))])
			e.FoundBytes = hex.EncodeToString(found[i:min(i+maxShown, len(found))])
			return
		}
	}
}

// saveEvidence writes a proof to a file of its own. The oldest ones are removed.
func (v *Verifier) saveEvidence(e *evidence) {
	if v.Evidence == "" {
		return
	}
	text, err := json.MarshalIndent(e, "", "  ")
	if err == nil {
		err = os.MkdirAll(v.Evidence, 0o700)
	}
	if err == nil {
		name := fmt.Sprintf("%s-%016x"+evidenceSuffix, e.At.UTC().Format("20060102T150405.000000000Z"), xxhash.Sum64String(e.Mirror))
		err = statefile.Replace(filepath.Join(v.Evidence, name), func(w io.Writer) error {
			_, err := w.Write(append(text, '\n'))
			return err
		})
	}
	if err == nil {
		err = v.removeOldEvidence()
	}
	if err != nil {
		v.Log.Error("cannot save the evidence of a corrupt file", zap.String("mirror", e.Mirror), zap.Error(err))
	}
}

const evidenceSuffix = ".json"

// removeOldEvidence removes all but the newest proofs.
func (v *Verifier) removeOldEvidence() error {
	entries, err := os.ReadDir(v.Evidence)
	if err != nil {
		return err
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), evidenceSuffix) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	kept, keptOf := 0, map[string]int{}
	for _, name := range slices.Backward(names) {
		mirror := name[strings.LastIndexByte(name, '-')+1:]
		if kept < maxEvidence && keptOf[mirror] < maxEvidenceOfMirror {
			kept++
			keptOf[mirror]++
		} else if err := os.Remove(filepath.Join(v.Evidence, name)); err != nil {
			return err
		}
	}
	return nil
}
