package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"

	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// overview is an object together with what is known of its connection.
type overview struct {
	kind, insight *model.Kind
	// key and insightKey are the names of the two parts in the answer.
	key, insightKey string
	// paths are where the older API served it, relative to the mesh for
	// mesh-scoped kinds.
	legacy string
}

var overviews = []overview{
	{kinds.Dataplane, kinds.DataplaneInsight, "dataplane", "dataplaneInsight", "dataplanes+insights"},
	{kinds.ZoneIngress, kinds.ZoneIngressInsight, "zoneIngress", "zoneIngressInsight", "zoneingresses+insights"},
	{kinds.ZoneEgress, kinds.ZoneEgressInsight, "zoneEgress", "zoneEgressInsight", "zoneegressoverviews"},
	{kinds.Zone, kinds.ZoneInsight, "zone", "zoneInsight", "zones+insights"},
}

// overviewRoutes registers the overviews under their new and older paths.
func (s *Server) overviewRoutes() {
	for _, o := range overviews {
		prefix := ""
		if o.kind.Scope == model.InMesh {
			prefix = "/meshes/{mesh}"
			s.listRoute("/"+o.kind.Plural+"/_overview", s.overviewList(o))
			s.listRoute("/"+o.legacy, s.overviewList(o))
		}
		s.listRoute(prefix+"/"+o.kind.Plural+"/_overview", s.overviewList(o))
		s.listRoute(prefix+"/"+o.legacy, s.overviewList(o))
		s.readRoute(prefix+"/"+o.kind.Plural+"/{name}/_overview", s.overviewOne(o))
		s.readRoute(prefix+"/"+o.legacy+"/{name}", s.overviewOne(o))
	}
}

func (s *Server) readRoute(pattern string, h handler) {
	s.router.add(route{method: http.MethodGet, pattern: pattern, title: "Could not retrieve a resource", handle: h})
}

func (s *Server) listRoute(pattern string, h handler) {
	s.router.add(route{method: http.MethodGet, pattern: pattern, title: "Could not retrieve resources", handle: h})
}

func (s *Server) overviewOne(o overview) handler {
	return func(c *call) (*reply, error) {
		if err := s.Access.Read(c.user, o.kind); err != nil {
			return nil, err
		}
		if err := s.inMesh(c.Context(), o.kind, c.params["mesh"]); err != nil {
			return nil, err
		}
		obj, err := s.Store.Get(c.Context(), o.kind.Key(c.params["mesh"], c.params["name"]))
		if err != nil {
			return nil, fmt.Errorf("get %s: %w", o.kind.Name, err)
		}
		doc, err := o.render(s.Tables(), obj, true)
		if err != nil {
			return nil, err
		}
		return ok(doc), nil
	}
}

func (s *Server) overviewList(o overview) handler {
	return func(c *call) (*reply, error) {
		objs, err := s.matching(c, o.kind)
		if err != nil {
			return nil, err
		}
		tables := s.Tables()
		var failed error
		rep, err := paged(c, len(objs), func(i int) any {
			doc, err := o.render(tables, objs[i], false)
			if err != nil {
				failed = err
			}
			return doc
		})
		if failed != nil {
			return nil, failed
		}
		return rep, err
	}
}

// render puts both parts into one document with the object's meta data. alone
// tells that the answer is no list: a zone then has an insight always, as in 2.10.
func (o overview) render(t model.Tables, obj *model.Object, alone bool) (json.RawMessage, error) {
	full, err := model.Encode(obj)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", obj.Key(), err)
	}
	var meta struct {
		Type     string            `json:"type"`
		Mesh     string            `json:"mesh,omitempty"`
		Name     string            `json:"name"`
		Created  json.RawMessage   `json:"creationTime"`
		Modified json.RawMessage   `json:"modificationTime"`
		Labels   map[string]string `json:"labels,omitempty"`
	}
	if err := json.Unmarshal(full, &meta); err != nil {
		return nil, fmt.Errorf("encode %s: %w", obj.Key(), err)
	}
	meta.Type = o.kind.Name + "Overview"
	head, err := json.Marshal(meta)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", obj.Key(), err)
	}
	spec, err := model.EncodeSpec(obj.Spec)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", obj.Key(), err)
	}
	var b bytes.Buffer
	b.Write(head[:len(head)-1])
	fmt.Fprintf(&b, ",%q:%s", o.key, spec)
	if i, has := t.Table(o.insight, obj.Meta.Mesh).Get(obj.Meta.Name); has {
		insight, err := model.EncodeSpec(i.Spec)
		if err != nil {
			return nil, fmt.Errorf("encode insight of %s: %w", obj.Key(), err)
		}
		fmt.Fprintf(&b, ",%q:%s", o.insightKey, insight)
	} else if o.kind == kinds.Zone && alone {
		fmt.Fprintf(&b, ",%q:{}", o.insightKey)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}
