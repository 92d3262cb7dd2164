package view

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// outsideServices returns the destinations made of ExternalServices, by service.
func outsideServices(t, secrets *model.Table, f *facts) map[string]*Destination {
	out := map[string]*Destination{}
	protocols := map[string]ir.Protocol{}
	for _, row := range t.Rows() {
		spec := model.Spec[kinds.ExternalServiceSpec](row.Object)
		name := spec.Service()
		host, port, ok := spec.HostPort()
		if name == "" || !ok {
			continue
		}
		o := Outside{Name: row.Meta.Name, Endpoint: ir.Endpoint{
			Address: host, Port: port, Weight: 1, Zone: spec.Zone(), Tags: maps.Clone(spec.Tags),
		}}
		delete(o.Tags, model.TagService)
		o.Endpoint = f.local(o.Endpoint)
		d := out[name]
		if d == nil {
			d = &Destination{Destination: ir.Destination{Kind: kinds.ExternalService.Name, Mesh: f.mesh, Name: name, External: true}}
			out[name] = d
			protocols[name] = ir.ParseProtocol(spec.Tags[model.TagProtocol])
		}
		protocols[name] = ir.CommonProtocol(protocols[name], ir.ParseProtocol(spec.Tags[model.TagProtocol]))
		if spec.Encrypted() {
			// The tag tells endpoints with different settings apart.
			o.Tags[model.TagExternalServiceName] = row.Meta.Name
			tls, err := outsideTLS(spec.Networking.TLS, host, secrets)
			if err != nil {
				d.Warnings = append(d.Warnings, ir.Warning{Kind: row.Kind.Name, Name: row.Meta.Name, Message: err.Error()})
				continue
			}
			o.TLS = tls
		}
		d.Outside = append(d.Outside, o)
	}
	for name, d := range out {
		d.Protocol = protocols[name]
		slices.SortFunc(d.Outside, func(a, b Outside) int {
			return cmp.Or(cmp.Compare(a.Address, b.Address), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Name, b.Name))
		})
		d.seal()
	}
	return out
}

func outsideTLS(t *kinds.ExternalServiceTLS, host string, secrets *model.Table) (*ir.ExternalTLS, error) {
	out := &ir.ExternalTLS{
		AllowRenegotiation: t.AllowRenegotiation != nil && *t.AllowRenegotiation,
	}
	if !isIP(host) {
		out.SNI = host
	}
	if t.ServerName != nil {
		out.SNI = *t.ServerName
	}
	if len(out.SNI) > ir.MaxServerName {
		return nil, fmt.Errorf("networking.tls.serverName is longer than %d bytes; until this is solved the service has no such endpoint", ir.MaxServerName)
	}
	if t.SkipHostnameVerification == nil || !*t.SkipHostnameVerification {
		out.Name = cmp.Or(out.SNI, host)
	}
	for _, s := range []struct {
		field string
		from  *kinds.DataSource
		to    *[]byte
	}{{"caCert", t.CaCert, &out.CAPEM}, {"clientCert", t.ClientCert, &out.CertPEM}, {"clientKey", t.ClientKey, &out.KeyPEM}} {
		if s.from == nil {
			continue
		}
		b, err := readSource(s.from, secrets)
		if err != nil {
			return nil, fmt.Errorf("networking.tls.%s: %w; until this is solved the service has no such endpoint", s.field, err)
		}
		*s.to = b
	}
	return out, nil
}

// readSource returns the data of a source that needs no file.
func readSource(s *kinds.DataSource, secrets *model.Table) ([]byte, error) {
	switch {
	case s.Inline != nil:
		return *s.Inline, nil
	case s.InlineString != nil:
		return []byte(*s.InlineString), nil
	case s.Secret != nil:
		row, ok := secrets.Get(*s.Secret)
		if !ok {
			return nil, fmt.Errorf("there is no Secret %q in this mesh", *s.Secret)
		}
		return model.Spec[kinds.SecretSpec](row.Object).Data, nil
	case s.File != nil:
		return nil, fmt.Errorf("a file of the control plane cannot be used here; put the data into a Secret and name it")
	}
	return nil, fmt.Errorf("says nothing; name a Secret or give the data inline")
}
