package policy

import (
	"math"
	"testing"
)

func TestSplits(t *testing.T) {
	for _, weights := range [][]uint64{
		{1, 9}, {math.MaxUint32}, {math.MaxUint32, math.MaxUint32}, {math.MaxUint64, math.MaxUint64, 1}, {math.MaxUint64, 0},
		{1, math.MaxUint64 - 1}, {1, math.MaxUint64}, {1<<31 + 3, 1<<31 - 1}, {1<<31 - 1, 1 << 31},
	} {
		var in []Share
		for _, w := range weights {
			in = append(in, Share{Weight: w})
		}
		var sum uint64
		for i, s := range Splits(in) {
			sum += uint64(s.Weight)
			if s.Weight == 0 && weights[i] > 0 {
				t.Errorf("%v: share %d lost all", weights, i)
			}
		}
		if sum > math.MaxUint32 || sum == 0 {
			t.Errorf("%v: the sum is %d", weights, sum)
		}
	}
	if got := Splits([]Share{{Weight: 1}, {Weight: 9}}); got[0].Weight != 1 || got[1].Weight != 9 {
		t.Errorf("weights that fit were changed: %v", got)
	}
}
