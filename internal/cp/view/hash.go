package view

import (
	"encoding/binary"
	"maps"
	"slices"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
)

// digest collects values for a hash. Strings carry their length, so that two
// neighbours cannot be mistaken for two others.
type digest struct{ b []byte }

func (d *digest) num(n uint64) { d.b = binary.LittleEndian.AppendUint64(d.b, n) }

func (d *digest) str(s string) {
	d.num(uint64(len(s)))
	d.b = append(d.b, s...)
}

func (d *digest) strs(ss []string) {
	d.num(uint64(len(ss)))
	for _, s := range ss {
		d.str(s)
	}
}

func (d *digest) tags(m map[string]string) {
	d.num(uint64(len(m)))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		d.str(k)
		d.str(m[k])
	}
}

func (d *digest) flag(b bool) {
	if b {
		d.b = append(d.b, 1)
		return
	}
	d.b = append(d.b, 0)
}

func (d *digest) hash(h model.Hash) { d.b = append(d.b, h[:]...) }

func (d *digest) endpoint(e *ir.Endpoint) {
	d.str(e.Address)
	d.num(uint64(e.Port))
	d.num(uint64(e.Weight))
	d.num(uint64(e.Priority))
	d.str(e.Zone)
	d.str(e.SubZone)
	d.tags(e.Tags)
}

func (d *digest) sum() model.Hash { return model.HashOf(d.b) }
