package view

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// VIPs are the virtual addresses of the older kind of a mesh, as its Config
// object holds them (services.md 2.3).
type VIPs map[VIPKey]VIPEntry

// VIPKey says what has an address.
type VIPKey struct {
	Type VIPType
	Name string
}

// VIPType is what a VIPKey names.
type VIPType string

// The types.
const (
	VIPService VIPType = "0" // a value of kuma.io/service
	VIPHost    VIPType = "1" // a host outside of the mesh
	VIPDomain  VIPType = "2" // a name made up by a user
)

// Compare orders keys by type and name.
func (k VIPKey) Compare(o VIPKey) int {
	return cmp.Or(cmp.Compare(k.Type, o.Type), cmp.Compare(k.Name, o.Name))
}

// VIPEntry is an address with what is reached there.
type VIPEntry struct {
	Address   string        `json:"address"`
	Outbounds []VIPOutbound `json:"outbounds"`
	// ReleasedAt is when what had the address was gone. The entry has no
	// outbounds then; it keeps others from getting the address while clients may
	// remember it. Zero = in use.
	ReleasedAt time.Time `json:"releasedAt,omitzero"`
}

// byAge returns the keys by type, and those of a type by address: addresses are
// given out from the start of the range on.
func (v VIPs) byAge() []VIPKey {
	addresses := make(map[VIPKey]netip.Addr, len(v))
	for k, e := range v {
		addresses[k], _ = netip.ParseAddr(e.Address) // bad ones come first; nobody gives such
	}
	return slices.SortedFunc(maps.Keys(v), func(a, b VIPKey) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), addresses[a].Compare(addresses[b]), a.Compare(b))
	})
}

// VIPOutbound is a port of an address. Port 0 stands for the common port alone.
type VIPOutbound struct {
	Port   uint32
	TagSet map[string]string
	Origin string
}

// VIPConfigName is the name of the Config that holds the older virtual addresses
// of a mesh.
func VIPConfigName(mesh string) string { return kinds.VIPsName(mesh) }

// Encode returns the text of the Config object.
func (v VIPs) Encode() (string, error) {
	flat := make(map[string]VIPEntry, len(v))
	for k, e := range v {
		flat[string(k.Type)+":"+k.Name] = e
	}
	b, err := json.Marshal(flat)
	if err != nil {
		return "", fmt.Errorf("encode virtual addresses: %w", err)
	}
	return string(b), nil
}

// tagFirst is the compressed form: outbounds by service.
type tagFirst struct {
	V map[string]struct {
		OE []struct {
			T  map[string]string `json:"t"`
			AP []struct {
				A string `json:"a"`
				D string `json:"d"`
				P uint32 `json:"p"`
				O string `json:"o"`
			} `json:"ap"`
		} `json:"oe"`
	} `json:"v"`
}

// ParseVIPs reads the text of the Config object in either of its forms. An empty
// text has no addresses.
func ParseVIPs(text string) (VIPs, error) {
	if text == "" {
		return VIPs{}, nil
	}
	var c tagFirst
	if json.Unmarshal([]byte(text), &c) == nil && c.V != nil {
		return c.expand(), nil
	}
	var flat map[string]VIPEntry
	if err := json.Unmarshal([]byte(text), &flat); err != nil {
		return nil, fmt.Errorf("read virtual addresses: %w", err)
	}
	out := make(VIPs, len(flat))
	for k, e := range flat {
		typ, name, ok := strings.Cut(k, ":")
		if !ok {
			return nil, fmt.Errorf("read virtual addresses: the key %q has no type", k)
		}
		out[VIPKey{VIPType(typ), name}] = e
	}
	return out, nil
}

// expand turns the compressed form into the plain one. It does not name the
// type of an entry, which follows from the origin and the domain.
func (c *tagFirst) expand() VIPs {
	out := VIPs{}
	for _, service := range slices.Sorted(maps.Keys(c.V)) {
		for _, oe := range c.V[service].OE {
			tags := maps.Clone(oe.T)
			if tags == nil {
				tags = map[string]string{}
			}
			tags[model.TagService] = service
			for _, ap := range oe.AP {
				k := VIPKey{VIPHost, ap.D}
				switch {
				case ap.D == service:
					k.Type = VIPService
				case strings.HasPrefix(ap.O, "virtual-outbound:"), strings.HasPrefix(ap.O, "mesh-gateway:"):
					k.Type = VIPDomain
				}
				e := out[k]
				e.Address = ap.A
				e.Outbounds = append(e.Outbounds, VIPOutbound{Port: ap.P, TagSet: tags, Origin: longOrigin(ap.O)})
				out[k] = e
			}
		}
	}
	return out
}

func longOrigin(o string) string {
	switch o {
	case "svc":
		return "service"
	case "k8s":
		return "kubernetes"
	}
	return o
}
