package source

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"mirrorpool/config"
	"mirrorpool/config/statefile"
)

// lastGoodName is the file in state_dir.
const lastGoodName = "mirrors.kept"

// lastGoodFormat is that of the file: a line of JSON, and then the list as its source had it.
var lastGoodFormat = statefile.Format{Kind: "mirrorpool-kept", Version: 2, Limit: maxListSize + 4*maxSignatureSize + 16<<10}

// oldMagic began the file before version 2 of the format, followed by a space, the checksum in hexadecimal and a line
// feed.
const oldMagic = "mirrorpool-kept-1"

// A lastGood is a list that was accepted, with where and when.
type lastGood struct {
	Source    string    `json:"source"`
	Accepted  time.Time `json:"accepted"`
	Signature []byte    `json:"signature,omitempty"`
	Held      *heldMark `json:"held,omitempty"`     // the update that waited when this was saved
	Replaced  []byte    `json:"replaced,omitempty"` // SHA-256 of the list that this one has replaced, if it may come back
	list      []byte
}

// A heldMark is what is saved of an update that the guard has held back, so that a start, which knows nothing of
// health, does not let it pass.
type heldMark struct {
	Sum      []byte          `json:"sum"` // SHA-256 of the list
	Decision config.Decision `json:"decision"`
}

func newHeldMark(d *document, decision config.Decision) *heldMark {
	return &heldMark{sumOf(d), decision}
}

// sumOf returns the SHA-256 of the list in d; nil if there is none.
func sumOf(d *document) []byte {
	if d == nil {
		return nil
	}
	sum := sha256.Sum256(d.list.data)
	return sum[:]
}

// matches reports whether the mark is of the list in d.
func (m *heldMark) matches(d *document) bool {
	return m != nil && bytes.Equal(m.Sum, sumOf(d))
}

// document gives the list in the form in which it was fetched.
func (g *lastGood) document(signed bool) *document {
	d := &document{list: &part{data: g.list}}
	if signed {
		d.signature = &part{data: g.Signature}
	}
	return d
}

// encode gives the body of the file.
func (g *lastGood) encode() ([]byte, error) {
	header, err := json.Marshal(g)
	if err != nil {
		return nil, err
	}
	return append(append(header, '\n'), g.list...), nil
}

// decodeLastGood reads what encode has given.
func decodeLastGood(body []byte) (*lastGood, error) {
	header, list, ok := bytes.Cut(body, []byte("\n"))
	if !ok {
		return nil, errors.New("it has no list")
	}
	g := &lastGood{}
	decoder := json.NewDecoder(bytes.NewReader(header))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(g); err != nil {
		return nil, fmt.Errorf("its header is not valid: %v", err)
	}
	g.list = list
	return g, nil
}

// unsealLastGood returns the body of a file of this version or the one before.
func unsealLastGood(data []byte) ([]byte, error) {
	old, isOld := bytes.CutPrefix(data, []byte(oldMagic+" "))
	if !isOld {
		return lastGoodFormat.Unseal(bytes.NewReader(data))
	}
	sum, body, _ := bytes.Cut(old, []byte("\n"))
	if want := sha256.Sum256(body); string(sum) != hex.EncodeToString(want[:]) {
		return nil, errors.New("checksum does not match")
	}
	return body, nil
}

// loadLastGood reads the list that was saved in dir. It returns nil if there is none; one that cannot be used is set
// aside.
func loadLastGood(dir string) (g *lastGood, err error) {
	err = statefile.Load(filepath.Join(dir, lastGoodName), func(r io.Reader) error {
		data, err := io.ReadAll(io.LimitReader(r, 2*lastGoodFormat.Limit))
		if err == nil {
			data, err = unsealLastGood(data)
		}
		if err == nil {
			g, err = decodeLastGood(data)
		}
		return err
	})
	return g, err
}

// save writes g to dir, where no other user may read it: the list has e-mail addresses.
func (g *lastGood) save(dir string) error {
	body, err := g.encode()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return lastGoodFormat.Replace(filepath.Join(dir, lastGoodName), body)
}
