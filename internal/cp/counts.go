package cp

import (
	"weft/internal/cp/diagnostics"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// registerCounts registers the metric resources_count, unless it is switched off.
func (p *parts) registerCounts() error {
	if !p.Metrics.ControlPlane.ReportResourcesCount {
		return nil
	}
	return diagnostics.RegisterCounts(p.metrics, func() map[string]int {
		if !p.elector.Leading() {
			return nil // one instance tells, lest the sum over instances be wrong
		}
		return p.counts()
	})
}

// counts returns how many objects there are of each kind that is stored.
func (p *parts) counts() map[string]int {
	snap := p.state.Current()
	meshes := append(snap.Meshes(), "")
	out := map[string]int{}
	for _, k := range p.set.Kinds {
		if k.Hidden || k == kinds.MeshInsight || k == kinds.ServiceInsight {
			continue
		}
		n := 0
		for _, mesh := range meshes {
			if (k.Scope == model.Global) == (mesh == "") {
				n += snap.Table(k, mesh).Len()
			}
		}
		out[k.Name] = n
	}
	return out
}
