package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"weft/internal/cp/inspect"
	"weft/internal/cp/view"
	"weft/internal/cp/whatif"
	"weft/internal/mesh/model"
)

// renderOptions are the flags of "render".
type renderOptions struct {
	applyOptions
	zoneFlags
	proxy          string
	against        []string
	againstCurrent bool
	shadow         bool
	out            format
}

// asDiff prints differences for people.
const asDiff = "diff"

func (a *App) renderCommand() *cobra.Command {
	var o renderOptions
	cmd := &cobra.Command{
		Use: "render", Short: "Print the Envoy configuration that proxies would get, or what would change, without a control plane", Args: cobra.NoArgs,
		Long: `Print the configuration that a control plane would make for the proxies among the objects of files.
With --against it prints only what differs from the objects of other files, with --against-control-plane
what applying the files would change at the proxies of the control plane.`,
		Example: `  kumactl render -f mesh/                               # all proxies
  kumactl render -f mesh/ --proxy default/web-1 -o json
  kumactl render -f mesh/ --against main/mesh/          # what a change of the files changes
  kumactl render -f policy.yaml --against-control-plane # what applying a file would change`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.render(cmd.Context(), &o) },
	}
	f := cmd.Flags()
	f.StringArrayVarP(&o.files, "file", "f", nil, "path to a file or folder, URL, or `-` for standard input; may be repeated")
	f.StringToStringVarP(&o.vars, "var", "v", nil, "variable to replace in the files, name=value; {{ name }} stands for it")
	f.StringVar(&o.proxy, "proxy", "", "only this proxy: mesh/name, a name in the mesh default, or /name of a zone egress")
	f.StringArrayVar(&o.against, "against", nil, "print the difference to the objects of this file, folder or URL; may be repeated")
	f.BoolVar(&o.againstCurrent, "against-control-plane", false, "print what applying the files would change at the current control plane")
	f.BoolVar(&o.shadow, "shadow", false, "count policies with the label kuma.io/effect: shadow among the files, too")
	f.StringVarP((*string)(&o.out), "output", "o", "", "output format: yaml, json, or with differences diff")
	o.addTo(cmd)
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{string(asYAML), string(asJSON), asDiff}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.MarkFlagRequired("file")
	_ = cmd.MarkFlagFilename("file", "yaml", "yml", "json")
	cmd.MarkFlagsMutuallyExclusive("against", "against-control-plane")
	return cmd
}

// compares tells whether differences are asked for.
func (o *renderOptions) compares() bool { return len(o.against) > 0 || o.againstCurrent }

func (o *renderOptions) check() error {
	switch o.out {
	case "":
		o.out = asYAML
		if o.compares() {
			o.out = asDiff
		}
	case asYAML, asJSON:
	case asDiff:
		if !o.compares() {
			return errors.New("output format diff needs --against or --against-control-plane")
		}
	default:
		return fmt.Errorf("output format %q is not known: use yaml, json or, with differences, diff", string(o.out))
	}
	return nil
}

func (a *App) render(ctx context.Context, o *renderOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	before, after, err := a.worlds(ctx, o)
	if err != nil {
		return err
	}
	proxies, err := o.proxies(before, after)
	if err != nil {
		return err
	}
	then := &configs{world: after, shadow: o.shadow}
	if before == nil {
		return a.renderWorld(then, proxies, o.out)
	}
	return a.renderDifference(&configs{world: before}, then, proxies, o.out)
}

// worlds returns the world of the files and, if it is to be compared, the other one.
func (a *App) worlds(ctx context.Context, o *renderOptions) (before, after *whatif.World, err error) {
	if o.againstCurrent {
		present, s, err := a.fetched(ctx, &o.zoneFlags)
		if err != nil {
			return nil, nil, err
		}
		if before, err = whatif.New(present, s, a.Now(), nil); err != nil {
			return nil, nil, err
		}
		objs, err := a.collect(ctx, o.applyOptions)
		if err != nil {
			return nil, nil, err
		}
		after, err = admitted(objs, present, s, before, a)
		return before, after, err
	}
	s, err := o.settings()
	if err != nil {
		return nil, nil, err
	}
	if len(o.against) > 0 {
		if before, err = a.world(ctx, applyOptions{files: o.against, vars: o.vars}, s, nil); err != nil {
			return nil, nil, fmt.Errorf("--against: %w", err)
		}
	}
	after, err = a.world(ctx, o.applyOptions, s, before)
	return before, after, err
}

// proxies returns the keys of the proxies that are asked about.
func (o *renderOptions) proxies(worlds ...*whatif.World) ([]model.Key, error) {
	var all []model.Key
	for _, w := range worlds {
		if w != nil {
			all = append(all, w.Proxies()...)
		}
	}
	slices.SortFunc(all, model.Key.Compare)
	all = slices.Compact(all)
	if o.proxy == "" {
		return all, nil
	}
	mesh, name, qualified := strings.Cut(o.proxy, "/")
	if !qualified {
		mesh, name = model.DefaultMesh, o.proxy
	}
	for _, k := range all {
		if k.Mesh == mesh && k.Name == name {
			return []model.Key{k}, nil
		}
	}
	if qualified && mesh == "" {
		return nil, fmt.Errorf("there is no ZoneEgress %q of this zone among the objects", name)
	}
	return nil, fmt.Errorf("there is no Dataplane %q in mesh %q among the objects", name, mesh)
}

// configs makes the configurations of a world.
type configs struct {
	world  *whatif.World
	shadow bool
	views  map[string]*view.Mesh
}

// of returns the configuration of a proxy, false if there is no such proxy.
func (c *configs) of(k model.Key) (conf inspect.Config, ok bool, err error) {
	if k.Mesh == "" {
		var views []*view.Mesh
		for _, mesh := range c.world.Meshes() {
			views = append(views, c.view(mesh))
		}
		conf, ok, err = c.world.Egress(views, k.Name)
	} else {
		conf, ok, err = whatif.Config(c.view(k.Mesh), k.Name)
	}
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", k, err)
	}
	return conf, ok, nil
}

// view returns the view of a mesh.
func (c *configs) view(mesh string) *view.Mesh {
	if v := c.views[mesh]; v != nil {
		return v
	}
	w := c.world
	if c.shadow {
		w = w.Shadow(mesh)
	}
	if c.views == nil {
		c.views = map[string]*view.Mesh{}
	}
	v := w.View(mesh)
	c.views[mesh] = v
	return v
}

// rendered is the configuration of a proxy, or how it changes.
type rendered struct {
	Mesh string         `json:"mesh"`
	Name string         `json:"name"`
	XDS  inspect.Config `json:"xds,omitempty"`
	// Change is changed, added or removed.
	Change string       `json:"change,omitempty"`
	Diff   []inspect.Op `json:"diff,omitempty"`
}

func (a *App) renderWorld(c *configs, proxies []model.Key, out format) error {
	list := []rendered{}
	for _, k := range proxies {
		conf, ok, err := c.of(k)
		if err != nil {
			return err
		}
		if ok {
			list = append(list, rendered{Mesh: k.Mesh, Name: k.Name, XDS: conf})
		}
	}
	if len(list) == 0 {
		a.warn("there is neither a Dataplane nor a ZoneEgress among the objects, so there is nothing to render")
	}
	return a.printRendered(list, out)
}

func (a *App) printRendered(list []rendered, out format) error {
	doc, err := json.Marshal(struct {
		Proxies []rendered `json:"proxies"`
	}{list})
	if err != nil {
		return fmt.Errorf("print the configuration: %w", err)
	}
	return a.document(doc, out)
}

func (a *App) renderDifference(before, after *configs, proxies []model.Key, out format) error {
	list := []rendered{}
	for _, k := range proxies {
		from, had, err := before.of(k)
		if err != nil {
			return err
		}
		to, has, err := after.of(k)
		if err != nil {
			return err
		}
		ops, err := inspect.Diff(from, to)
		if err != nil {
			return fmt.Errorf("%s: %w", k, err)
		}
		if len(ops) == 0 {
			continue
		}
		r := rendered{Mesh: k.Mesh, Name: k.Name, Change: "changed", Diff: ops}
		switch {
		case !had:
			r.Change = "added"
		case !has:
			r.Change = "removed"
		}
		list = append(list, r)
		if out == asDiff {
			if err := a.printDiff(&r, from, to); err != nil {
				return err
			}
		}
	}
	if out != asDiff {
		return a.printRendered(list, out)
	}
	if len(list) == 0 {
		return a.write([]byte("No proxy changes.\n"))
	}
	return a.write(fmt.Appendf(nil, "%d of %d proxies change.\n", len(list), len(proxies)))
}

// printDiff prints how the resources of a proxy change, line by line.
func (a *App) printDiff(r *rendered, from, to inspect.Config) error {
	var b strings.Builder
	who := r.Mesh + "/" + r.Name
	if r.Mesh == "" {
		who = "zone egress " + r.Name
	}
	fmt.Fprintf(&b, "# %s: %s\n", who, r.Change)
	urls := map[string]bool{}
	for url := range from {
		urls[url] = true
	}
	for url := range to {
		urls[url] = true
	}
	for _, url := range slices.Sorted(maps.Keys(urls)) {
		names := map[string]bool{}
		for n := range from[url] {
			names[n] = true
		}
		for n := range to[url] {
			names[n] = true
		}
		for _, n := range slices.Sorted(maps.Keys(names)) {
			old, err := yamlLines(from[url][n])
			if err != nil {
				return err
			}
			now, err := yamlLines(to[url][n])
			if err != nil {
				return err
			}
			b.WriteString(unified(url[strings.LastIndexByte(url, '.')+1:]+" "+n, old, now))
		}
	}
	_, err := cleaner{a.Out}.Write([]byte(b.String()))
	return err
}

func yamlLines(doc json.RawMessage) ([]string, error) {
	if doc == nil {
		return nil, nil
	}
	b, err := jsonToYAML(doc)
	if err != nil {
		return nil, err
	}
	return strings.Split(strings.TrimRight(string(b), "\n"), "\n"), nil
}
