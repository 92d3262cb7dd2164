package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"weft/internal/cp/auth"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// Objects may hold private keys themselves, in place of the name of a Secret
// (inline, inlineString). Such a key is a secret, too: whoever may not read Secrets
// sees a placeholder, which cannot be written back.
const (
	hiddenText  = "[redacted]"
	hiddenBytes = "W3JlZGFjdGVkXQ==" // hiddenText in base64
)

// keyHolders are the kinds that may do so.
var keyHolders = []*model.Kind{kinds.Mesh, kinds.ExternalService, kinds.MeshExternalService, kinds.MeshGateway}

// certificates are the fields in which what is inline is no secret.
var certificates = map[string]bool{"cert": true, "caCert": true, "clientCert": true}

// visible returns an object as a user may see it.
func (s *Server) visible(u auth.User, o *model.Object) (*model.Object, error) {
	if !slices.Contains(keyHolders, o.Kind) || s.Access.Read(u, kinds.Secret) == nil {
		return o, nil
	}
	text, err := model.EncodeSpec(o.Spec)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", o.Key(), err)
	}
	if !bytes.Contains(text, []byte(`"inline`)) {
		return o, nil
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var tree any
	if err := d.Decode(&tree); err != nil {
		return nil, fmt.Errorf("decode %s: %w", o.Key(), err)
	}
	hide(tree, "")
	if text, err = json.Marshal(tree); err != nil {
		return nil, fmt.Errorf("encode %s: %w", o.Key(), err)
	}
	out := o.Clone()
	out.Spec = o.Kind.New()
	if err := json.Unmarshal(text, out.Spec); err != nil {
		return nil, fmt.Errorf("decode %s: %w", o.Key(), err)
	}
	return out, nil
}

// hide puts placeholders into the value of a field.
func hide(v any, field string) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			hide(e, field)
		}
	case map[string]any:
		for k, e := range v {
			_, isText := e.(string)
			switch {
			case !isText:
				hide(e, k)
			case certificates[field]:
			case k == "inline":
				v[k] = hiddenBytes
			case k == "inlineString":
				v[k] = hiddenText
			}
		}
	}
}

// checkPlaceholders refuses an object that was read by somebody who could not see
// its keys, and would lose them if it were written like that.
func checkPlaceholders(o *model.Object) error {
	if !slices.Contains(keyHolders, o.Kind) {
		return nil
	}
	text, err := model.EncodeSpec(o.Spec)
	if err != nil {
		return fmt.Errorf("encode %s: %w", o.Key(), err)
	}
	if bytes.Contains(text, []byte(`"inline":"`+hiddenBytes)) || bytes.Contains(text, []byte(`"inlineString":"`+hiddenText)) {
		return badRequest("the object holds a placeholder in place of a key that its reader may not see; name a Secret, or write the key itself")
	}
	return nil
}
