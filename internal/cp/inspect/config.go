package inspect

import (
	"encoding/json"
	"fmt"

	"weft/internal/cp/envoy"
	"weft/internal/cp/preview"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

// Config is a proxy's configuration: type URL → name → resource.
type Config map[string]map[string]json.RawMessage

// ConfigOf returns everything that a proxy would get. Certificates have their own
// clock and are not issued for looking at them: placeholders stand for them.
func ConfigOf(p *preview.Preview) (Config, error) {
	rs := append(p.Resources[:len(p.Resources):len(p.Resources)], p.Assignments...)
	for _, id := range envoy.IdentityNeeds(p.Proxy) {
		own, err := envoy.Identity(id.Mesh, []byte("CERT"), []byte("KEY"))
		if err != nil {
			return nil, fmt.Errorf("placeholder for the certificate: %w", err)
		}
		ca, err := envoy.Authority(envoy.CASecret(id.Mesh), []byte("CA"))
		if err != nil {
			return nil, fmt.Errorf("placeholder for the authority: %w", err)
		}
		rs = append(rs, own, ca)
	}
	c, err := envoy.JSON(rs)
	if err != nil {
		return nil, fmt.Errorf("print the configuration: %w", err)
	}
	return c, nil
}

// WithShadow returns tables in which the shadow policies of a mesh count like
// all others.
func WithShadow(ps []*policy.Policy, t model.Tables, mesh string) model.Tables {
	out := overlay{Tables: t, mesh: mesh, tables: map[string]*model.Table{}}
	for _, p := range ps {
		table := t.Table(p.Kind, mesh)
		var lit []model.Row
		for _, row := range table.Rows() {
			if row.Label(model.LabelEffect) == model.EffectShadow {
				o := withoutLabel(row.Object, model.LabelEffect)
				lit = append(lit, model.Row{Object: o, Hash: model.ContentHash(o)})
			}
		}
		if len(lit) > 0 {
			out.tables[p.Kind.Name] = table.With(lit, nil)
		}
	}
	return out
}

// overlay replaces tables of one mesh.
type overlay struct {
	model.Tables
	mesh   string
	tables map[string]*model.Table
}

// Table implements model.Tables.
func (o overlay) Table(kind *model.Kind, mesh string) *model.Table {
	if t := o.tables[kind.Name]; t != nil && mesh == o.mesh {
		return t
	}
	return o.Tables.Table(kind, mesh)
}

func withoutLabel(o *model.Object, label string) *model.Object {
	c := *o
	c.Meta.Labels = make(map[string]string, len(o.Meta.Labels))
	for k, v := range o.Meta.Labels {
		if k != label {
			c.Meta.Labels[k] = v
		}
	}
	return &c
}
