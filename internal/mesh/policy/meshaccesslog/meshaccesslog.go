// Package meshaccesslog writes a line for each request and connection: to a
// file, to a TCP address or to an OpenTelemetry collector.
package meshaccesslog

import (
	"encoding/json"

	"weft/internal/mesh/ir"
	"weft/internal/mesh/model"
	"weft/internal/mesh/policy"
)

// Spec says what is logged where.
type Spec struct {
	// TargetRef selects the proxies; absent means all of the mesh.
	TargetRef *policy.TargetRef `json:"targetRef,omitempty"`
	// To holds for traffic from the selected proxies to destinations.
	To []policy.FullItem[Conf] `json:"to,omitempty"`
	// From holds for traffic that enters the selected proxies. Deprecated: use rules.
	From []policy.FullItem[Conf] `json:"from,omitempty"`
	// Rules hold for traffic that enters the selected proxies.
	Rules []policy.FullRule[Conf] `json:"rules,omitempty"`
}

// Conf is what may be set under default.
type Conf struct {
	// Backends get a line each. An empty list switches logging off.
	Backends []Backend `json:"backends,omitzero"`
}

// Backend is where lines go. The field of the type's name says how.
type Backend struct {
	// Type of the backend.
	Type string `json:"type" schema:"required,enum=Tcp|File|OpenTelemetry"`
	// TCP sends lines to an address.
	TCP *TCP `json:"tcp,omitempty"`
	// File appends lines to a file on the proxy's host.
	File *File `json:"file,omitempty"`
	// OpenTelemetry sends records to a collector.
	OpenTelemetry *OpenTelemetry `json:"openTelemetry,omitempty"`
}

// Types of a Backend.
const (
	backendTCP  = "Tcp"
	backendFile = "File"
	backendOTel = "OpenTelemetry"
)

// TCP sends lines to an address.
type TCP struct {
	// Format of a line.
	Format *Format `json:"format,omitempty"`
	// Address of the receiver: "host:port".
	Address string `json:"address" schema:"required,minLength=1"`
}

// File appends lines to a file on the proxy's host.
type File struct {
	// Format of a line.
	Format *Format `json:"format,omitempty"`
	// Path of the file.
	Path string `json:"path" schema:"required,minLength=1"`
}

// OpenTelemetry sends records to a collector.
type OpenTelemetry struct {
	// Attributes of each record; their values may hold placeholders of the proxy.
	Attributes []KeyValue `json:"attributes,omitempty"`
	// Body of each record: an OTLP AnyValue, or a text. Absent means a default line.
	Body json.RawMessage `json:"body,omitempty"`
	// Endpoint of the collector: "host" or "host:port". The port is 4317 if absent.
	Endpoint string `json:"endpoint" schema:"required,minLength=1"`
}

// Format of a line.
type Format struct {
	// Type of the format.
	Type string `json:"type" schema:"required,enum=Plain|Json"`
	// Plain is a text with placeholders.
	Plain *string `json:"plain,omitempty"`
	// JSON are the fields of an object; their values may hold placeholders.
	JSON []KeyValue `json:"json,omitzero"`
	// OmitEmptyValues leaves out what has no value.
	OmitEmptyValues *bool `json:"omitEmptyValues,omitempty" schema:"default=false"`
}

// Types of a Format.
const (
	formatPlain = "Plain"
	formatJSON  = "Json"
)

// KeyValue is a field.
type KeyValue struct {
	// Key of the field.
	Key string `json:"key" schema:"required"`
	// Value of the field.
	Value string `json:"value" schema:"required"`
}

// Policy is the kind MeshAccessLog.
var Policy = policy.Define(policy.Def[Conf]{
	Kind: model.Kind{
		Name: "MeshAccessLog", Plural: "meshaccesslogs", Short: "mal", One: "meshaccesslog", Many: "meshaccesslogs",
		Display: "Mesh Access Log", DisplayPlural: "Mesh Access Logs",
		New: func() any { return new(Spec) },
	},
	Targets: policy.Targets{
		Top: policy.Sidecars | policy.MeshGateway, GatewayTags: true,
		To:        policy.Mesh | policy.MeshService | policy.MeshExternalService | policy.MeshMultiZoneService,
		ToGateway: policy.Mesh,
		From:      policy.Mesh,
	},
	Parts: func(spec any) policy.Parts[Conf] {
		s := spec.(*Spec)
		return policy.Parts[Conf]{
			Target: s.TargetRef, To: policy.Items(s.To), From: policy.Items(s.From), Rules: policy.Rules(s.Rules),
		}
	},
	Lists:        []policy.List{policy.ListTo, policy.ListFrom, policy.ListRules},
	FromAsRules:  true,
	ValidateSpec: validateSpec,
	Validate:     validate,
	Inbound:      inbound,
	Outbound:     outbound,
	Passthrough:  passthrough,
})

func validateSpec(_ *model.Object, p policy.Parts[Conf], v *model.Violations) {
	if len(p.To)+len(p.From)+len(p.Rules) == 0 {
		v.Add("says nothing: give at least one item in to, from or rules")
	}
}

func validate(c *Conf, v *model.Violations, _ policy.Where) {
	if c.Backends == nil {
		v.At("backends").Add("are missing: say where lines go; an empty list switches logging off")
	}
	for i := range c.Backends {
		c.Backends[i].validate(v.At("backends", i))
	}
}

func (b *Backend) validate(v *model.Violations) {
	const missing = "is missing: the backend's type says that it is there"
	switch b.Type {
	case backendFile:
		if b.File == nil {
			v.At("file").Add(missing)
			return
		}
		b.File.Format.validate(v.At("file", "format"))
		policy.CheckFilePath(b.File.Path, v.At("file", "path"))
	case backendTCP:
		if b.TCP == nil {
			v.At("tcp").Add(missing)
			return
		}
		b.TCP.Format.validate(v.At("tcp", "format"))
		policy.CheckEndpoint(b.TCP.Address, v.At("tcp", "address"))
	case backendOTel:
		if b.OpenTelemetry == nil {
			v.At("openTelemetry").Add(missing)
			return
		}
		policy.CheckEndpoint(b.OpenTelemetry.Endpoint, v.At("openTelemetry", "endpoint"))
		checkText(string(b.OpenTelemetry.Body), v.At("openTelemetry", "body"))
		for i, a := range b.OpenTelemetry.Attributes {
			checkText(a.Value, v.At("openTelemetry", "attributes", i, "value"))
		}
	}
}

func (f *Format) validate(v *model.Violations) {
	switch {
	case f == nil:
	case f.Type == formatPlain && f.Plain == nil:
		v.At("plain").Add("is missing: the format's type says that it is there")
	case f.Type == formatPlain && *f.Plain == "":
		v.At("plain").Add("must not be empty: leave format out for the default line")
	case f.Type == formatJSON && f.JSON == nil:
		v.At("json").Add("is missing: the format's type says that it is there")
	case f.Type == formatJSON && len(f.JSON) == 0:
		v.At("json").Add("must not be empty: leave format out for the default line")
	case f.Type == formatPlain:
		checkText(*f.Plain, v.At("plain"))
	case f.Type == formatJSON:
		for i, kv := range f.JSON {
			kv.validate(v.At("json", i))
		}
	}
}

// checkText adds what is wrong with a text once its placeholders are filled in.
func checkText(text string, v *model.Violations) {
	policy.CheckFormat(ends{}.placeholders(&ir.Proxy{}).Replace(text), v)
}

func (kv KeyValue) validate(v *model.Violations) {
	checkText(kv.Value, v.At("value"))
	if kv.Key == "" {
		v.At("key").Add("a field needs a name")
	}
	if kv.Value == "" {
		v.At("value").Add("a field needs a value")
	}
	if !json.Valid([]byte(`{"` + kv.Key + `":"` + kv.Value + `"}`)) {
		v.Add("does not give a JSON object: quotes and backslashes have to be escaped")
	}
}
