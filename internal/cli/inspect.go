package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/client"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// inspectCommand looks into what the control plane knows beyond the objects.
func (a *App) inspectCommand() *cobra.Command {
	var out format
	cmd := group("inspect", "Look into proxies, zones, services and the effect of policies",
		a.inspectDataplanes(&out), a.inspectDataplane(&out), a.inspectZones(&out),
		a.inspectZoneProxies(zoneIngresses, &out), a.inspectZoneProxies(zoneEgresses, &out),
		a.inspectZoneProxy(zoneIngresses), a.inspectZoneProxy(zoneEgresses),
		a.inspectMeshes(&out), a.inspectServices(&out), a.inspectMeshGateway(&out))
	for _, k := range catalog.Kinds {
		if p := k.Policy; p != nil && k.One != "" && (p.TargetRef || p.Inspectable) {
			cmd.AddCommand(a.inspectPolicy(k, &out))
		}
	}
	outputFlag(cmd, &out)
	return cmd
}

// listing is a command that shows a list of the API, all pages of it.
type listing struct {
	path  string
	query url.Values
	// head is the first row of the table, row makes one of an item.
	head []string
	row  func(item json.RawMessage) ([]string, error)
}

// show prints a listing in a format.
func (a *App) show(ctx context.Context, l listing, out format) error {
	if err := out.check(); err != nil {
		return err
	}
	c, err := a.connect(ctx)
	if err != nil {
		return err
	}
	items, err := c.All(ctx, l.path, l.query)
	if err != nil {
		return err
	}
	if out != asTable {
		doc, err := listDocument(items)
		if err != nil {
			return err
		}
		return a.document(doc, out)
	}
	rows := [][]string{l.head}
	for _, item := range items {
		r, err := l.row(item)
		if err != nil {
			return fmt.Errorf("understand the control plane's answer: %w", err)
		}
		rows = append(rows, r)
	}
	table(a.Out, rows)
	return nil
}

// listDocument puts the items of all pages into one list.
func listDocument(items []json.RawMessage) ([]byte, error) {
	if items == nil {
		items = []json.RawMessage{}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(struct {
		Total int               `json:"total"`
		Items []json.RawMessage `json:"items"`
		Next  *string           `json:"next"`
	}{len(items), items, nil})
	if err != nil {
		return nil, fmt.Errorf("encode the list: %w", err)
	}
	return b.Bytes(), nil
}

// part decodes one part of an overview, written by the protobuf JSON mapping,
// into what to points to; an absent part leaves it empty.
func part(item map[string]any, name string, to any) error {
	switch v := item[name].(type) {
	case nil:
		return nil
	case map[string]any:
		return model.DecodeProto(v, to)
	default:
		return fmt.Errorf("%s is no object", name)
	}
}

// tree reads an item as a tree with exact numbers.
func tree(item json.RawMessage) (map[string]any, error) {
	var m map[string]any
	dec := json.NewDecoder(bytes.NewReader(item))
	dec.UseNumber()
	if err := dec.Decode(&m); err != nil {
		return nil, err
	}
	return m, nil
}

// text returns a field of a tree that is a string.
func text(m map[string]any, name string) string {
	s, _ := m[name].(string)
	return s
}

// since prints the time since a moment, "never" without one.
func (a *App) since(t *model.Timestamp) string {
	if t == nil {
		return "never"
	}
	return age(a.Now(), t.Time)
}

// connection is what tables show of a proxy's or zone's connections.
type connection struct {
	connected, updated *model.Timestamp
	sent, rejected     uint64
}

func (c *connection) add(connected, updated *model.Timestamp, total kinds.ResponseCounts) {
	c.connected = later(c.connected, connected)
	c.updated = later(c.updated, updated)
	c.sent += total.ResponsesSent
	c.rejected += total.ResponsesRejected
}

func later(x, y *model.Timestamp) *model.Timestamp {
	if x == nil || y != nil && y.After(x.Time) {
		return y
	}
	return x
}

// cells are LAST CONNECTED AGO, LAST UPDATED AGO, TOTAL UPDATES, TOTAL ERRORS.
func (a *App) cells(c connection) []string {
	return []string{a.since(c.connected), a.since(c.updated), strconv.FormatUint(c.sent, 10), strconv.FormatUint(c.rejected, 10)}
}

func proxyConnection(subs []kinds.DiscoverySubscription) connection {
	var c connection
	for i := range subs {
		c.add(subs[i].ConnectTime, subs[i].Status.LastUpdateTime, subs[i].Status.Total)
	}
	return c
}

// versions returns the versions of kuma-dp and Envoy in the newest connection.
func versions(s *kinds.DiscoverySubscription) (dp, envoy string) {
	if s == nil || s.Version == nil {
		return "", ""
	}
	if v := s.Version.KumaDP; v != nil {
		dp = v.Version
	}
	if v := s.Version.Envoy; v != nil {
		envoy = v.Version
	}
	return dp, envoy
}

// date prints a moment, "-" without one.
func date(t *model.Timestamp) string {
	if t == nil || t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.DateTime)
}

// orDash prints "-" for what is empty.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// raw prints a page of the API as it comes.
func (a *App) raw(ctx context.Context, path string, query url.Values) error {
	c, err := a.connect(ctx)
	if err != nil {
		return err
	}
	b, err := c.Get(ctx, path, query)
	if err != nil {
		return err
	}
	return a.write(b)
}

// get asks for one page and decodes it.
func (a *App) ask(ctx context.Context, path string, query url.Values, to any) (json.RawMessage, error) {
	c, err := a.connect(ctx)
	if err != nil {
		return nil, err
	}
	return fetchInto(ctx, c, path, query, to)
}

func fetchInto(ctx context.Context, c *client.Client, path string, query url.Values, to any) (json.RawMessage, error) {
	b, err := c.Get(ctx, path, query)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, to); err != nil {
		return nil, fmt.Errorf("understand the control plane's answer: %w", err)
	}
	return b, nil
}
