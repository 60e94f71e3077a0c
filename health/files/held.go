package files

import "github.com/RoaringBitmap/roaring/v2"

// held returns the files that mirrors other than one have.
func (c *Catalog) held(but *mirror) *roaring.Bitmap {
	held := roaring.New()
	for _, m := range c.mirrors {
		if m != nil && m != but && m.row != nil {
			held.Or(m.row.has)
		}
	}
	return held
}
