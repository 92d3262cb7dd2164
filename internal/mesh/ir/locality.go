package ir

import (
	"encoding/json"
	"fmt"
	"slices"
)

// Locality is a rule for which endpoints are preferred by where they are.
type Locality struct {
	// Zone is the client's own.
	Zone string `json:",omitempty"`
	// Remote is the priority of endpoints in other zones where no rule says more;
	// that of the own zone's is 0, the first.
	Remote uint32 `json:",omitempty"`
	// Ruled: Affinity and Failover decide. Endpoints that they do not speak of
	// are kept in the own zone and left out in others.
	Ruled    bool       `json:",omitempty"`
	Affinity []Affinity `json:",omitempty"`
	Failover []Failover `json:",omitempty"`
	// Egress is the locality of all endpoints in other zones where traffic to
	// them takes the zone's egress; it tells the egress which rule holds.
	Egress string `json:",omitempty"`
	// Overprovisioning says, in percent, how many endpoints of a priority may fail
	// before others help out; 0 = the proxy's default.
	Overprovisioning uint32 `json:",omitempty"`
}

// Affinity prefers endpoints of the own zone that have a tag.
type Affinity struct {
	Key, Value string
	Weight     uint32
}

// Failover accepts endpoints of other zones: those listed or, with Except, all
// others.
type Failover struct {
	Priority uint32
	Zones    []string `json:",omitempty"`
	Except   bool     `json:",omitempty"`
}

// Place is where an endpoint stands among the others. Weight is that of its
// locality, 0 = none.
type Place struct {
	Zone, SubZone    string
	Priority, Weight uint32
}

// Key returns the rule in a comparable form that holds all of it.
func (l *Locality) Key() LocalityKey {
	b, err := json.Marshal(l)
	if err != nil { // plain values only: cannot fail
		panic(fmt.Sprintf("ir: locality: %v", err))
	}
	return LocalityKey(b)
}

// Rule returns the rule that the key was made of, nil for the empty key.
func (k LocalityKey) Rule() *Locality {
	if k == "" {
		return nil
	}
	l := new(Locality)
	if err := json.Unmarshal([]byte(k), l); err != nil { // made by Key only
		panic(fmt.Sprintf("ir: locality %q: %v", string(k), err))
	}
	return l
}

// Place returns where an endpoint stands; false if it is left out.
func (l *Locality) Place(e Endpoint) (Place, bool) {
	local := e.Zone == l.Zone || e.Zone == ""
	switch {
	case !l.Ruled && local:
		return Place{Zone: e.Zone, SubZone: e.SubZone}, true
	case !l.Ruled:
		return Place{Zone: e.Zone, SubZone: e.SubZone, Priority: l.Remote}, true
	case local:
		for _, a := range l.Affinity {
			if v, ok := e.Tags[a.Key]; ok && v == a.Value {
				return Place{Zone: l.Zone, SubZone: a.Key + "=" + a.Value, Weight: a.Weight}, true
			}
		}
		return Place{Zone: l.Zone, Weight: 1}, true
	case l.Egress != "":
		return Place{Zone: l.Egress, Priority: 1}, true
	}
	for _, f := range l.Failover {
		if slices.Contains(f.Zones, e.Zone) != f.Except {
			return Place{Zone: e.Zone, Priority: f.Priority}, true
		}
	}
	return Place{}, false
}
