package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"

	"weft/internal/mesh/model"
)

// Path returns the REST path of an object, or of the kind's list when name is "".
// A list in mesh "" spans all meshes.
func Path(k *model.Kind, mesh, name string) string {
	p := "/" + k.Plural
	if k.Scope == model.InMesh && mesh != "" {
		p = "/meshes/" + segment(mesh) + p
	}
	if name != "" {
		p += "/" + segment(name)
	}
	return p
}

// segment escapes a name for a path; names with slashes or of dots alone, which
// would lead elsewhere, are refused by their escapes when it is asked for.
func segment(name string) string {
	if strings.Trim(name, ".") == "" {
		return strings.ReplaceAll(name, ".", "%2E")
	}
	return url.PathEscape(name)
}

// Object returns an object and the document that describes it.
func (c *Client) Object(ctx context.Context, k *model.Kind, mesh, name string) (*model.Object, json.RawMessage, error) {
	b, err := c.Get(ctx, Path(k, mesh, name), nil)
	if err != nil {
		return nil, nil, err
	}
	o, err := decode(k, b)
	return o, b, err
}

// decode reads an object as the API prints it, with its times.
func decode(k *model.Kind, b []byte) (*model.Object, error) {
	o, err := k.Decode(b)
	if err != nil {
		return nil, misunderstood(err)
	}
	if err := json.Unmarshal(b, &struct {
		Created  any `json:"creationTime"`
		Modified any `json:"modificationTime"`
	}{&o.Meta.Created, &o.Meta.Modified}); err != nil {
		return nil, misunderstood(err)
	}
	return o, nil
}

func misunderstood(err error) error {
	return fmt.Errorf("understand the control plane's answer: %w", err)
}

// Page is a part of a list.
type Page struct {
	Total int
	Items []json.RawMessage
	// Next is the offset of the next page, "" at the end.
	Next string
	// Raw is the answer as it came.
	Raw json.RawMessage
}

// Paging says which part of a list is wanted. Size 0 = the server's default.
type Paging struct {
	Size   int
	Offset string
}

// Page returns a part of any list of the API.
func (c *Client) Page(ctx context.Context, path string, p Paging, query url.Values) (*Page, error) {
	q := url.Values{}
	for key, vs := range query {
		q[key] = vs
	}
	if p.Size != 0 {
		q.Set("size", strconv.Itoa(p.Size))
	}
	if p.Offset != "" {
		q.Set("offset", p.Offset)
	}
	b, err := c.Get(ctx, path, q)
	if err != nil {
		return nil, err
	}
	var raw struct {
		Total int               `json:"total"`
		Items []json.RawMessage `json:"items"`
		Next  *string           `json:"next"`
	}
	if err := json.Unmarshal(b, &raw); err != nil {
		return nil, misunderstood(err)
	}
	out := &Page{Total: raw.Total, Items: raw.Items, Raw: b}
	if raw.Next != nil {
		if u, err := url.Parse(*raw.Next); err == nil {
			out.Next = u.Query().Get("offset")
		}
	}
	return out, nil
}

// pageSize is the largest page that the API gives.
const pageSize = 1000

// All returns the items of all pages of a list.
func (c *Client) All(ctx context.Context, path string, query url.Values) ([]json.RawMessage, error) {
	var out []json.RawMessage
	p := Paging{Size: pageSize}
	for {
		page, err := c.Page(ctx, path, p, query)
		if err != nil {
			return nil, err
		}
		out = append(out, page.Items...)
		if page.Next == "" || page.Next == p.Offset || len(page.Items) == 0 {
			return out, nil
		}
		p.Offset = page.Next
	}
}

// Objects decodes the items of a list.
func Objects(k *model.Kind, items []json.RawMessage) ([]*model.Object, error) {
	out := make([]*model.Object, len(items))
	for i, item := range items {
		o, err := decode(k, item)
		if err != nil {
			return nil, err
		}
		out[i] = o
	}
	return out, nil
}

// Put writes an object and returns the server's warnings. An empty status is
// left out, so that the one that the control plane computed stays.
func (c *Client) Put(ctx context.Context, o *model.Object) ([]string, error) {
	body, err := Document(o)
	if err != nil {
		return nil, err
	}
	answer, err := c.do(ctx, http.MethodPut, Path(o.Kind, o.Meta.Mesh, o.Meta.Name), nil, body)
	if err != nil {
		return nil, err
	}
	var w struct {
		Warnings []string `json:"warnings"`
	}
	if len(answer) > 0 {
		if err := json.Unmarshal(answer, &w); err != nil {
			return nil, misunderstood(err)
		}
	}
	return w.Warnings, nil
}

// Document returns the JSON form of an object that is to be written.
func Document(o *model.Object) ([]byte, error) {
	if o.Status != nil && reflect.ValueOf(o.Status).Elem().IsZero() {
		o = o.Clone()
		o.Status = nil
	}
	b, err := model.Encode(o)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", o.Key(), err)
	}
	return b, nil
}

// Delete deletes an object.
func (c *Client) Delete(ctx context.Context, k *model.Kind, mesh, name string) error {
	_, err := c.do(ctx, http.MethodDelete, Path(k, mesh, name), nil, nil)
	return err
}

// Index is what GET / tells about a control plane.
type Index struct {
	Product    string `json:"product"`
	Version    string `json:"version"`
	Hostname   string `json:"hostname"`
	InstanceID string `json:"instanceId"`
	ClusterID  string `json:"clusterId"`
}

// Index asks which control plane answers; the second result is the answer as it came.
func (c *Client) Index(ctx context.Context) (Index, json.RawMessage, error) {
	var i Index
	b, err := c.Get(ctx, "/", nil)
	if err != nil {
		return i, nil, err
	}
	if err := json.Unmarshal(b, &i); err != nil {
		return i, nil, misunderstood(err)
	}
	return i, b, nil
}

// KindInfo is what the API tells about a kind (GET /_resources).
type KindInfo struct {
	Name                string `json:"name"`
	Scope               string `json:"scope"`
	Path                string `json:"path"`
	IncludeInFederation bool   `json:"includeInFederation"`
	Policy              *struct {
		IsTargetRef bool `json:"isTargetRef"`
	} `json:"policy"`
}

// Kinds asks which kinds the control plane has.
func (c *Client) Kinds(ctx context.Context) ([]KindInfo, error) {
	b, err := c.Get(ctx, "/_resources", nil)
	if err != nil {
		return nil, err
	}
	var all struct {
		Resources []KindInfo `json:"resources"`
	}
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, misunderstood(err)
	}
	return all.Resources, nil
}
