package policy

import (
	"math"
	"math/bits"

	"weft/internal/mesh/ir"
)

// Share is a backend's cluster with the weight that a user gave it.
type Share struct {
	Cluster string
	Weight  uint64
}

// Splits returns the shares as the IR wants them. Weights whose sum does not fit
// into 32 bits, which proxies refuse, are scaled down; nobody loses all.
func Splits(shares []Share) []ir.Split {
	shift := bits.Len(uint(len(shares))) // with this many bits less the sum fits into 64
	var sum, exact, over uint64
	for _, s := range shares {
		sum += s.Weight >> shift
		var carry uint64
		exact, carry = bits.Add64(exact, s.Weight, 0)
		over += carry
	}
	fits := over == 0 && exact <= math.MaxUint32
	var out []ir.Split
	for _, s := range shares {
		w := s.Weight
		if !fits && w > 0 {
			// The limit leaves room for each weight that is rounded up to 1.
			hi, lo := bits.Mul64(w>>shift, uint64(math.MaxUint32-len(shares)))
			w, _ = bits.Div64(hi, lo, sum)
			w = max(w, 1)
		}
		out = append(out, ir.Split{Cluster: s.Cluster, Weight: uint32(w)})
	}
	return out
}
