package model

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/bits"

	"github.com/zeebo/xxh3"
)

// Hash is a 128-bit content hash. Equal content has equal hashes; it is not
// meant to withstand an attacker who looks for collisions.
type Hash [16]byte

// HashOf returns the hash of bytes.
func HashOf(b []byte) Hash { return xxh3.Hash128(b).Bytes() }

// String returns the hash in hex.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// plus adds two hashes as 128-bit numbers: the hash of a set whose elements come
// in any order.
func (h Hash) plus(o Hash) Hash {
	lo, carry := bits.Add64(binary.LittleEndian.Uint64(h[:8]), binary.LittleEndian.Uint64(o[:8]), 0)
	hi, _ := bits.Add64(binary.LittleEndian.Uint64(h[8:]), binary.LittleEndian.Uint64(o[8:]), carry)
	var out Hash
	binary.LittleEndian.PutUint64(out[:8], lo)
	binary.LittleEndian.PutUint64(out[8:], hi)
	return out
}

// HashJSON returns the hash of the JSON form of a value. It panics for values
// that have none, which is a programming error.
func HashJSON(v any) Hash {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("model: hash %T: %v", v, err))
	}
	return HashOf(b)
}

// Fold combines hashes in order.
func Fold(hs ...Hash) Hash {
	b := make([]byte, 0, 16*len(hs))
	for _, h := range hs {
		b = append(b, h[:]...)
	}
	return HashOf(b)
}

// ContentHash returns the hash of what the object's kind feeds to proxies:
// identity, creation time (the oldest of equals wins in several rules) and the
// parts named by Kind.Feeds, or what Kind.Essence returns. Modification time and
// Version never count.
func ContentHash(o *Object) Hash {
	in := struct {
		Mesh, Name string
		Created    int64
		Labels     map[string]string
		Spec       any
		Status     any
	}{Mesh: o.Meta.Mesh, Name: o.Meta.Name, Created: o.Meta.Created.UnixNano()}
	if o.Kind.Feeds&FeedsLabels != 0 {
		in.Labels = o.Meta.Labels
	}
	if o.Kind.Essence != nil {
		in.Spec = o.Kind.Essence(o)
		return HashJSON(in)
	}
	if o.Kind.Feeds&FeedsSpec != 0 {
		in.Spec = o.Spec
	}
	if o.Kind.Feeds&FeedsStatus != 0 {
		in.Status = o.Status
	}
	return HashJSON(in)
}
