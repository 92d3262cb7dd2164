package inspect

import (
	"maps"
	"slices"
	"strings"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// Hostname is a name of a service with the zones whose clients know it.
type Hostname struct {
	Hostname string     `json:"hostname"`
	Zones    []ZoneName `json:"zones"`
}

// ZoneName names a zone.
type ZoneName struct {
	Name string `json:"name"`
}

// HasHostnames tells whether objects of the kind get names from generators.
func HasHostnames(k *model.Kind) bool {
	return k == kinds.MeshService || k == kinds.MeshExternalService || k == kinds.MeshMultiZoneService
}

// Hostnames returns the names that the generators make for a service, sorted. own
// is the zone of this control plane, "" at global, where all zones are told of. A
// generator that makes none, or one that another service has already, is left
// out; the status of the service says why.
func Hostnames(t model.Tables, o *model.Object, own string) []Hostname {
	zones := []string{own}
	if own == "" {
		zones = nil
		for _, row := range t.Table(kinds.Zone, "").Rows() {
			zones = append(zones, row.Meta.Name)
		}
	}
	refused := notGenerated(o)
	known := map[string][]string{}
	for _, zone := range zones {
		seen := o
		if own == "" {
			seen = asSeenIn(zone, o)
		}
		for _, row := range t.Table(kinds.HostnameGenerator, "").Rows() {
			g := model.Spec[kinds.HostnameGeneratorSpec](row.Object)
			if refused[row.Meta.Name] || !g.Selects(seen) {
				continue
			}
			if name, err := g.Hostname(seen, zone); err == nil && name != "" && !slices.Contains(known[name], zone) {
				known[name] = append(known[name], zone)
			}
		}
	}
	var out []Hostname
	for _, name := range slices.Sorted(maps.Keys(known)) {
		slices.SortFunc(known[name], strings.Compare)
		h := Hostname{Hostname: name}
		for _, z := range known[name] {
			h.Zones = append(h.Zones, ZoneName{z})
		}
		out = append(out, h)
	}
	return out
}

// asSeenIn returns the object as it is in a zone: what comes from elsewhere has
// come through global.
func asSeenIn(zone string, o *model.Object) *model.Object {
	c := *o
	c.Meta.Labels = maps.Clone(o.Meta.Labels)
	if c.Meta.Labels == nil {
		c.Meta.Labels = map[string]string{}
	}
	c.Meta.Labels[model.LabelOrigin] = model.OriginGlobal
	if o.Label(model.LabelOrigin) == model.OriginZone && o.Label(model.LabelZone) == zone {
		c.Meta.Labels[model.LabelOrigin] = model.OriginZone
	}
	return &c
}

// notGenerated returns the generators that gave the service no name.
func notGenerated(o *model.Object) map[string]bool {
	_, list := kinds.HostnamesOf(o)
	out := map[string]bool{}
	for i := range list {
		for _, c := range list[i].Conditions {
			if c.Type == kinds.ConditionGenerated && c.Status == "False" {
				out[list[i].HostnameGeneratorRef.CoreName] = true
			}
		}
	}
	return out
}
