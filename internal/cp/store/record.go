package store

import (
	"bytes"
	"encoding/json"
	"fmt"

	"weft/internal/mesh/model"
)

// Codec turns the JSON of a spec into what is kept at rest, and back. It is the
// place for encryption: key names the object, so that what is kept can be bound
// to it, and tells which kinds are worth it. Sealed bytes must be valid UTF-8,
// since postgres keeps them in a text column.
type Codec interface {
	Seal(key model.Key, spec []byte) ([]byte, error)
	Open(key model.Key, kept []byte) ([]byte, error)
}

// Plain is the Codec that keeps the JSON as it is.
type Plain struct{}

// Seal implements Codec.
func (Plain) Seal(_ model.Key, spec []byte) ([]byte, error) { return spec, nil }

// Open implements Codec.
func (Plain) Open(_ model.Key, kept []byte) ([]byte, error) { return kept, nil }

// Record is the form in which durable stores keep the parts of an object.
type Record struct {
	Labels []byte // JSON object
	Spec   []byte // what Codec.Seal made of the JSON
	Status []byte // JSON object; nil if the kind has no status
}

// Encode returns the object's parts as they are kept.
func Encode(c Codec, o *model.Object) (Record, error) {
	fail := func(part string, err error) (Record, error) {
		return Record{}, fmt.Errorf("encode %s of %s: %w", part, o.Key(), err)
	}
	var r Record
	var err error
	labels := o.Meta.Labels
	if labels == nil {
		labels = map[string]string{}
	}
	if r.Labels, err = model.EncodeSpec(labels); err != nil {
		return fail("labels", err)
	}
	if r.Spec, err = model.EncodeSpec(o.Spec); err != nil {
		return fail("spec", err)
	}
	if r.Spec, err = c.Seal(o.Key(), r.Spec); err != nil {
		return fail("spec", err)
	}
	if o.Status != nil {
		if r.Status, err = model.EncodeSpec(o.Status); err != nil {
			return fail("status", err)
		}
	}
	return r, nil
}

// Decode returns the object that was encoded. The caller sets times and version.
// It is lenient: fields that the kind does not know are left out.
func (r Record) Decode(c Codec, kind *model.Kind, key model.Key) (*model.Object, error) {
	fail := func(part string, err error) (*model.Object, error) {
		return nil, fmt.Errorf("decode %s of %s: %w", part, key, err)
	}
	o := kind.Make(key.Mesh, key.Name)
	if len(r.Labels) > 0 {
		if err := json.Unmarshal(r.Labels, &o.Meta.Labels); err != nil {
			return fail("labels", err)
		}
	}
	if len(o.Meta.Labels) == 0 {
		o.Meta.Labels = nil
	}
	spec, err := c.Open(key, r.Spec)
	if err == nil {
		err = decodePart(kind, spec, o.Spec)
	}
	if err != nil {
		return fail("spec", err)
	}
	if o.Status != nil && len(r.Status) > 0 {
		if err := json.Unmarshal(r.Status, o.Status); err != nil {
			return fail("status", err)
		}
	}
	return o, nil
}

// decodePart fills the struct that into points to. Flat kinds follow the
// protobuf JSON mapping, which writes some numbers as strings.
func decodePart(kind *model.Kind, data []byte, into any) error {
	if len(data) == 0 {
		return nil
	}
	if kind.Shape != model.Flat {
		return json.Unmarshal(data, into)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var tree map[string]any
	if err := d.Decode(&tree); err != nil {
		return err
	}
	return model.DecodeProto(tree, into)
}
