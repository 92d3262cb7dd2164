package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"weft/internal/client"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// exportProfile says which kinds are exported.
type exportProfile struct {
	name  string
	keeps func(k client.KindInfo) bool
	admin bool // secrets are always part of it
}

// exportProfiles in the order in which help names them. What a zone brings to a
// global control plane is the usual reason to export.
var exportProfiles = []exportProfile{
	{"federation", func(k client.KindInfo) bool {
		return k.IncludeInFederation && k.Name != kinds.MeshGateway.Name && (k.Policy == nil || !k.Policy.IsTargetRef)
	}, true},
	{"federation-with-policies", func(k client.KindInfo) bool { return k.IncludeInFederation }, true},
	{"all", func(client.KindInfo) bool { return true }, false},
	{"no-dataplanes", func(k client.KindInfo) bool {
		return k.Name != kinds.Dataplane.Name && k.Name != kinds.DataplaneInsight.Name
	}, false},
}

// The forms in which objects are exported.
const (
	formUniversal  = "universal"
	formKubernetes = "kubernetes"
)

// exportOptions are the flags of "export".
type exportOptions struct {
	profile, format string
	admin           bool
}

func (a *App) exportCommand() *cobra.Command {
	var o exportOptions
	names := make([]string, len(exportProfiles))
	for i, p := range exportProfiles {
		names[i] = p.name
	}
	cmd := &cobra.Command{
		Use: "export", Short: "Print the objects of a control plane, to be applied elsewhere", Args: cobra.NoArgs,
		Example: `  kumactl export > zone.yaml                              # what a zone brings to a global control plane
  kumactl export --profile=all --include-admin > all.yaml # everything, secrets too: keep the file safe
  kumactl export --format=kubernetes | kubectl apply -f -`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.export(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.StringVarP(&o.profile, "profile", "p", names[0], "what to export: "+strings.Join(names, ", "))
	f.StringVarP(&o.format, "format", "f", formUniversal, "form of the objects: universal or kubernetes")
	f.BoolVarP(&o.admin, "include-admin", "a", false, "export secrets, too (the federation profiles always do)")
	_ = cmd.RegisterFlagCompletionFunc("profile", cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{formUniversal, formKubernetes}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (a *App) export(ctx context.Context, o exportOptions) error {
	i := slices.IndexFunc(exportProfiles, func(p exportProfile) bool { return p.name == o.profile })
	switch {
	case i < 0:
		return fmt.Errorf("profile %q is not known: use federation, federation-with-policies, all or no-dataplanes", o.profile)
	case o.format != formUniversal && o.format != formKubernetes:
		return fmt.Errorf("format %q is not known: use universal or kubernetes", o.format)
	}
	c, err := a.connect(ctx)
	if err != nil {
		return err
	}
	index, _, err := c.Index(ctx)
	if err != nil {
		return err
	}
	known, unknown, err := exported(ctx, c, exportProfiles[i], o.admin)
	if err != nil {
		return err
	}
	// Everything is fetched before anything is printed: half an export is none.
	all, err := collectExport(ctx, c, known)
	if err != nil {
		return err
	}
	p := printer{app: a, ctx: ctx, client: c, form: o.format}
	p.line("# Product: %s, Version: %s, Hostname: %s, ClusterId: %s, InstanceId: %s",
		index.Product, index.Version, index.Hostname, index.ClusterID, index.InstanceID)
	if len(unknown) > 0 {
		list := strings.Join(unknown, ", ")
		p.line("# The following types won't be exported because they are unknown to kumactl: %s", list)
		a.warn("these types are not exported, because this kumactl does not know them: " + list)
	}
	return p.print(all)
}

// exported lists the kinds of a profile, sorted by name, and the types of it
// that are not known here.
func exported(ctx context.Context, c *client.Client, profile exportProfile, admin bool) (known []*model.Kind, unknown []string, err error) {
	infos, err := c.Kinds(ctx)
	if err != nil {
		return nil, nil, err
	}
	slices.SortFunc(infos, func(x, y client.KindInfo) int { return strings.Compare(x.Name, y.Name) })
	for _, info := range infos {
		if !profile.keeps(info) {
			continue
		}
		k := catalog.ByName(info.Name)
		switch {
		case k == nil:
			unknown = append(unknown, info.Name)
		case k.AdminOnly && !admin && !profile.admin:
		default:
			known = append(known, k)
		}
	}
	return known, unknown, nil
}

// exportItem is one object of an export.
type exportItem struct {
	kind       *model.Kind
	mesh, name string
	doc        json.RawMessage
}

// Secrets that belong to one control plane, and the keys that come last: once
// they are applied, the token of who applies is no longer valid.
var (
	neverExported = []string{"envoy-admin-ca", "inter-cp-ca"}
	lastExported  = "user-token-signing-key"
)

// collectExport fetches all objects in the order in which they can be applied:
// secrets of meshes, which meshes name, then the rest, then the keys that sign
// user tokens.
func collectExport(ctx context.Context, c *client.Client, of []*model.Kind) ([]exportItem, error) {
	var first, rest, last []exportItem
	for _, k := range of {
		items, err := c.All(ctx, client.Path(k, "", ""), nil)
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", k.DisplayPlural, err)
		}
		for _, doc := range items {
			head, err := model.PeekHead(doc)
			if err != nil {
				return nil, fmt.Errorf("understand the control plane's answer: %w", err)
			}
			item := exportItem{k, head.Mesh, head.Name, doc}
			switch {
			case k == kinds.GlobalSecret && slices.Contains(neverExported, head.Name):
			case k == kinds.GlobalSecret && strings.HasPrefix(head.Name, lastExported):
				last = append(last, item)
			case k == kinds.Secret:
				first = append(first, item)
			default:
				rest = append(rest, item)
			}
		}
	}
	return slices.Concat(first, rest, last), nil
}

// printer prints exported objects as YAML documents.
type printer struct {
	app     *App
	ctx     context.Context //nolint:containedctx // because a printer lives for one call
	client  *client.Client
	form    string
	started bool // something stands before the next document
}

func (p *printer) line(format string, args ...any) {
	fmt.Fprintln(p.app.Out, clean(fmt.Sprintf(format, args...)))
	// A Kubernetes list begins without a separator, as 2.10 prints it.
	p.started = p.form == formUniversal
}

func (p *printer) document(b []byte) error {
	if p.started {
		b = append([]byte("---\n"), b...)
	}
	p.started = true
	return p.app.write(b)
}

func (p *printer) print(all []exportItem) error {
	if p.form == formUniversal {
		// Meshes come first without their settings, so that their secrets can be
		// written before settings that name them.
		for _, item := range all {
			if item.kind != kinds.Mesh {
				continue
			}
			doc, err := model.Encode(kinds.Mesh.Make("", item.name))
			if err != nil {
				return fmt.Errorf("print mesh %q: %w", item.name, err)
			}
			b, err := objectYAML(doc, model.Flat)
			if err != nil {
				return err
			}
			if err := p.document(b); err != nil {
				return err
			}
		}
	}
	for _, item := range all {
		b, err := p.render(item)
		if err != nil {
			return fmt.Errorf("export %s: %w", item.kind.Key(item.mesh, item.name), err)
		}
		if err := p.document(b); err != nil {
			return err
		}
	}
	return nil
}

func (p *printer) render(item exportItem) ([]byte, error) {
	if p.form == formKubernetes {
		return p.kubernetes(item)
	}
	if item.kind != kinds.Mesh {
		return objectYAML(item.doc, item.kind.Shape)
	}
	// The policies of the mesh are part of the export, or deliberately not.
	m, err := tree(item.doc)
	if err != nil {
		return nil, err
	}
	m["skipCreatingInitialPolicies"] = []string{"*"}
	doc, err := model.EncodeSpec(m)
	if err != nil {
		return nil, err
	}
	return objectYAML(doc, model.Flat)
}

// ownedByCluster are fields of metadata that a Kubernetes API server sets.
var ownedByCluster = []string{"resourceVersion", "ownerReferences", "uid", "generation", "managedFields"}

// kubernetes asks for the object in the form of the Kubernetes API.
func (p *printer) kubernetes(item exportItem) ([]byte, error) {
	doc, err := p.client.Get(p.ctx, client.Path(item.kind, item.mesh, item.name), url.Values{"format": {"k8s"}})
	if err != nil {
		return nil, err
	}
	m, err := tree(doc)
	if err != nil {
		return nil, fmt.Errorf("understand the control plane's answer: %w", err)
	}
	if meta, ok := m["metadata"].(map[string]any); ok {
		for _, f := range ownedByCluster {
			delete(meta, f)
		}
	}
	return encodeYAML(plain(m))
}
