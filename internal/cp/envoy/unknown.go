package envoy

import (
	"encoding/json"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"

	"weft/internal/mesh/ir"
)

// UnknownFields returns the paths of fields in a patch's value that Envoy does not
// have, and which are therefore ignored. The value passes CheckPatch.
func UnknownFields(pt ir.Patch) []string {
	md := (&anypb.Any{}).ProtoReflect().Descriptor() // a whole resource
	if m := patchMessage(pt.Target); m != nil {
		md = m.ProtoReflect().Descriptor()
	}
	var out []string
	unknownIn(pt.Value, md, "", &out)
	slices.Sort(out)
	return slices.Compact(out)
}

// unknownIn adds those in the JSON form of a message at a path.
func unknownIn(b json.RawMessage, md protoreflect.MessageDescriptor, path string, out *[]string) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(b, &fields) != nil {
		return
	}
	if md.FullName() == "google.protobuf.Any" {
		var url string
		_ = json.Unmarshal(fields["@type"], &url) // an absent one finds nothing
		t, err := protoregistry.GlobalTypes.FindMessageByURL(url)
		if err != nil {
			return
		}
		md = t.Descriptor()
		delete(fields, "@type")
	}
	if strings.HasPrefix(string(md.FullName()), "google.protobuf.") {
		return // these have forms of their own
	}
	for name, value := range fields {
		f := md.Fields().ByJSONName(name)
		if f == nil {
			f = md.Fields().ByTextName(name)
		}
		at := strings.TrimPrefix(path+"."+name, ".")
		switch {
		case f == nil:
			*out = append(*out, at)
		case f.IsMap() && f.MapValue().Message() != nil:
			var entries map[string]json.RawMessage
			_ = json.Unmarshal(value, &entries) // was read before
			for k, v := range entries {
				unknownIn(v, f.MapValue().Message(), at+"["+k+"]", out)
			}
		case f.IsList() && f.Message() != nil:
			var entries []json.RawMessage
			_ = json.Unmarshal(value, &entries)
			for _, v := range entries {
				unknownIn(v, f.Message(), at, out)
			}
		case !f.IsMap() && f.Message() != nil:
			unknownIn(value, f.Message(), at, out)
		}
	}
}
