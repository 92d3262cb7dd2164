package services

import (
	"log/slog"
	"regexp"
	"slices"
	"time"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// generatedName is what a MeshService can be called (RFC 1035).
var generatedName = regexp.MustCompile(`^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$`)

// choosePorts decides on the ports of the MeshService that is made from a group:
// what it has stays as long as one proxy agrees with it, else the oldest proxy
// decides. It also returns the proxies that offer something else.
func (g *group) choosePorts(service string, has []kinds.MeshServicePort) (conflicting []string) {
	var oldest *proxy
	var offers [][]kinds.MeshServicePort
	var names []string
	var first, kept []kinds.MeshServicePort
	for name, p := range g.members {
		o := p.offer(service)
		offers, names = append(offers, o), append(names, name)
		if samePorts(o, has) {
			kept = has
		}
		if oldest == nil || p.olderThan(oldest) {
			oldest, first = p, o
		}
	}
	if g.ports = kept; kept == nil {
		g.ports = first
	}
	for i, o := range offers {
		if !samePorts(o, g.ports) {
			conflicting = append(conflicting, names[i])
		}
	}
	slices.Sort(conflicting)
	return conflicting
}

// samePorts compares lists of ports in any order.
func samePorts(a, b []kinds.MeshServicePort) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] && !slices.Contains(b, a[i]) {
			return false
		}
	}
	return true
}

// managed tells whether the task made a MeshService.
func managed(o *model.Object) bool { return o.Label(model.LabelManagedBy) == model.ManagedByMSGen }

// generated returns a new MeshService for a group.
func (m *mesh) generated(service string, ports []kinds.MeshServicePort) *model.Object {
	o := kinds.MeshService.Make(m.name, service)
	o.Meta.Labels = map[string]string{
		model.LabelMesh:        m.name,
		model.LabelDisplayName: service,
		model.LabelManagedBy:   model.ManagedByMSGen,
		model.LabelEnv:         model.EnvUniversal,
		model.LabelZone:        m.set.Zone,
		model.LabelOrigin:      model.OriginZone,
	}
	spec := selectorOf(service)
	spec.State, spec.Ports = kinds.ServiceUnavailable, ports
	o.Spec = spec
	return o
}

// selectorOf returns a spec with the selector of a generated MeshService.
func selectorOf(service string) *kinds.MeshServiceSpec {
	return &kinds.MeshServiceSpec{Selector: kinds.MeshServiceSelector{DataplaneTags: map[string]string{model.TagService: service}}}
}

// generate brings the generated MeshServices up to date: those to be made are
// added to want, those that are there are changed, or left out to be deleted.
func (m *mesh) generate(want map[string]*draft, now time.Time) {
	if !m.set.Generate {
		return
	}
	if m.mode == kinds.MeshServicesDisabled {
		for name, d := range want {
			if managed(d.was) {
				delete(want, name)
			}
		}
		return
	}
	for name, g := range m.fleet.groups {
		d := want[name]
		switch {
		case !generatedName.MatchString(name):
			m.once(slog.LevelInfo, "name", name, "a service gets no MeshService, because its name is no DNS label (RFC 1035)", "service", name)
			continue
		case d != nil && !managed(d.was):
			m.once(slog.LevelInfo, "taken", name, "a service gets no generated MeshService, because there is a hand-written one of that name", "service", name)
			continue
		}
		m.choosePorts(name, g, d)
		if len(g.ports) == 0 {
			continue // a workload that no service selects
		}
		if d == nil {
			want[name] = newDraft(nil, m.generated(name, g.ports))
			continue
		}
		made := selectorOf(name)
		if spec := d.spec(); !samePorts(spec.Ports, g.ports) || !sameSelector(spec, made) {
			spec = d.newSpec()
			spec.Ports, spec.Selector = g.ports, made.Selector
		}
		if d.now.Label(model.LabelGracePeriodStart) != "" {
			d.label(model.LabelGracePeriodStart, "")
		}
	}
	m.retire(want, now)
}

// choosePorts decides on the ports of a group's MeshService, if it has to be done again.
func (m *mesh) choosePorts(name string, g *group, d *draft) {
	if g.ports != nil {
		return
	}
	var has []kinds.MeshServicePort
	if d != nil {
		has = d.spec().Ports
	}
	if c := g.choosePorts(name, has); len(c) > 0 {
		m.once(slog.LevelWarn, "ports", name, "proxies of one service have different ports; the MeshService has those of the others", "service", name, "proxies", c)
	} else {
		m.settled("ports", name)
	}
}

// retire marks generated MeshServices whose last proxy is gone, and leaves those
// out whose time has passed.
func (m *mesh) retire(want map[string]*draft, now time.Time) {
	for name, d := range want {
		if d.was == nil || !managed(d.was) || m.fleet.groups[name] != nil {
			continue
		}
		start, err := time.Parse(time.RFC3339, d.now.Label(model.LabelGracePeriodStart))
		if err != nil {
			start = now.Truncate(time.Second)
			d.label(model.LabelGracePeriodStart, start.UTC().Format(time.RFC3339))
		}
		if end := start.Add(m.set.GracePeriod); now.Before(end) {
			m.wakeAt(end)
		} else {
			delete(want, name)
			m.set.Log.Info("MeshService is deleted, since its last proxy is gone for long", "mesh", m.name, "service", name)
		}
	}
}
