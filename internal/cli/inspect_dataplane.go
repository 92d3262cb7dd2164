package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"weft/internal/client"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// dumpOptions are the flags that choose what to show of one proxy.
type dumpOptions struct {
	what       string
	possible   []string
	oldDump    bool
	includeEDS bool
	shadow     bool
	include    []string
}

// flags adds --type and what goes with it; kinds are the possible values.
func (d *dumpOptions) flags(cmd *cobra.Command, byDefault string, possible ...string) {
	d.possible = possible
	f := cmd.Flags()
	f.StringVar(&d.what, "type", byDefault, "what to show: "+strings.Join(possible, ", "))
	f.BoolVar(&d.includeEDS, "include-eds", false, "show endpoints as well; only with --type=config-dump")
	f.BoolVar(&d.oldDump, "config-dump", false, "show the configuration of Envoy")
	deprecate(cmd, "config-dump", "use --type=config-dump")
	_ = cmd.RegisterFlagCompletionFunc("type", cobra.FixedCompletions(possible, cobra.ShellCompDirectiveNoFileComp))
}

// page returns the last part of the path to ask, with its query.
func (d *dumpOptions) page() (string, url.Values, error) {
	if d.oldDump {
		d.what = "config-dump"
	}
	switch {
	case !slices.Contains(d.possible, d.what):
		return "", nil, fmt.Errorf("invalid inspection type %q: use %s", d.what, strings.Join(d.possible, ", "))
	case d.includeEDS && d.what != "config-dump":
		return "", nil, errors.New("flag '--include-eds' can be used only when '--type=config-dump'")
	case d.shadow && d.what != "config":
		return "", nil, errors.New("flag '--shadow' can be used only when '--type=config'")
	case len(d.include) > 0 && d.what != "config":
		return "", nil, errors.New("flag '--include' can be used only when '--type=config'")
	}
	q := url.Values{}
	switch d.what {
	case "config-dump":
		if d.includeEDS {
			q.Set("include_eds", "true")
		}
		return "/xds", q, nil
	case "config":
		if d.shadow {
			q.Set("shadow", "true")
		}
		if len(d.include) > 0 {
			q.Set("include", strings.Join(d.include, ","))
		}
		return "/_config", q, nil
	}
	return "/" + d.what, q, nil // policies, stats, clusters
}

// inspectDataplane shows one proxy: its policies, or what its Envoy tells.
func (a *App) inspectDataplane(out *format) *cobra.Command {
	var (
		mesh string
		d    dumpOptions
	)
	cmd := &cobra.Command{
		Use: "dataplane NAME", Short: "Show the policies of a data plane proxy, or what its Envoy tells", Args: named(1),
		Example: `  kumactl inspect dataplane web-1                      # policies
  kumactl inspect dataplane web-1 --type=config        # what the control plane sends
  kumactl inspect dataplane web-1 --type=config-dump   # what its Envoy has
  kumactl inspect dataplane web-1 --type=config --shadow --include=diff`,
		ValidArgsFunction: a.completeNames(func([]string) *model.Kind { return kinds.Dataplane }, &mesh, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			page, query, err := d.page()
			if err != nil {
				return err
			}
			path := client.Path(kinds.Dataplane, mesh, args[0]) + page
			if d.what == "policies" {
				if err := a.inspectMatched(cmd.Context(), path, *out); err != nil {
					return err
				}
				a.warnOf(cmd.Context(), client.Path(kinds.Dataplane, mesh, args[0])+"/_findings")
				return nil
			}
			return a.raw(cmd.Context(), path, query)
		},
	}
	a.meshFlag(cmd, &mesh)
	d.flags(cmd, "policies", "policies", "config-dump", "stats", "clusters", "config")
	cmd.Flags().BoolVar(&d.shadow, "shadow", false, "count policies with the label kuma.io/effect: shadow, too; only with --type=config")
	cmd.Flags().StringSliceVar(&d.include, "include", nil, "what to add: diff, the change from the configuration of now; only with --type=config")
	_ = cmd.RegisterFlagCompletionFunc("include", cobra.FixedCompletions([]string{"diff"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// ref names an object in answers of the older inspection API.
type ref struct {
	Mesh string `json:"mesh"`
	Name string `json:"name"`
}

// matched is the answer about the policies of a proxy: Items for a sidecar,
// Policies and Listeners for a builtin gateway.
type matched struct {
	Kind  string `json:"kind"`
	Items []struct {
		attachment
		Matched map[string][]ref `json:"matchedPolicies"`
	} `json:"items"`
	Policies  map[string]ref    `json:"policies"`
	Listeners []matchedListener `json:"listeners"`
}

type matchedListener struct {
	Port     uint32 `json:"port"`
	Protocol string `json:"protocol"`
	Hosts    []struct {
		HostName string `json:"hostName"`
		Routes   []struct {
			Route        string `json:"route"`
			Destinations []struct {
				Tags     map[string]string `json:"tags"`
				Policies map[string]ref    `json:"policies"`
			} `json:"destinations"`
		} `json:"routes"`
	} `json:"hosts"`
}

// attachment is a part of a proxy that policies act on.
type attachment struct {
	Type    string `json:"type"`
	Name    string `json:"name"`
	Service string `json:"service"`
}

// String returns "inbound 10.0.0.1:80:80(web)" and the like.
func (t attachment) String() string {
	s := t.Type
	if t.Name != "" {
		s += " " + t.Name
	}
	switch {
	case t.Name == "" && t.Service != "":
		s += " " + t.Service
	case t.Service != "" && t.Service != t.Name:
		s += "(" + t.Service + ")"
	}
	return s
}

// heading is the attachment with its type in capitals.
func (t attachment) heading() string {
	kind := t.Type
	t.Type = ""
	return strings.TrimSpace(strings.ToUpper(kind) + t.String())
}

// inspectMatched prints the policies of a proxy.
func (a *App) inspectMatched(ctx context.Context, path string, out format) error {
	if err := out.check(); err != nil {
		return err
	}
	var m matched
	doc, err := a.ask(ctx, path, nil, &m)
	if err != nil {
		return err
	}
	if out != asTable {
		return a.document(doc, out)
	}
	w := cleaner{a.Out}
	for _, item := range m.Items {
		fmt.Fprintf(w, "%s:\n", item.heading())
		for _, kind := range slices.Sorted(maps.Keys(item.Matched)) {
			fmt.Fprintf(w, "  %s\n", kind)
			for _, p := range item.Matched[kind] {
				fmt.Fprintf(w, "    %s\n", p.Name)
			}
		}
		fmt.Fprintln(w)
	}
	if m.Kind == "MeshGatewayDataplane" {
		m.printGateway(w)
	}
	return nil
}

func (m *matched) printGateway(w io.Writer) {
	if len(m.Policies) > 0 {
		fmt.Fprintln(w, "MESHGATEWAY:")
		printPolicies(w, "  ", m.Policies)
		fmt.Fprintln(w)
	}
	for _, l := range m.Listeners {
		fmt.Fprintf(w, "LISTENER (%s:%d):\n", l.Protocol, l.Port)
		for _, h := range l.Hosts {
			fmt.Fprintf(w, "  %s:\n", h.HostName)
			for _, r := range h.Routes {
				fmt.Fprintf(w, "    ROUTE %s:\n", r.Route)
				for _, d := range r.Destinations {
					fmt.Fprintf(w, "      SERVICE %s:\n", d.Tags[model.TagService])
					printPolicies(w, "        ", d.Policies)
					fmt.Fprintln(w)
				}
			}
		}
	}
}

func printPolicies(w io.Writer, indent string, policies map[string]ref) {
	for _, kind := range slices.Sorted(maps.Keys(policies)) {
		fmt.Fprintf(w, "%s%s\n%s  %s\n", indent, kind, indent, policies[kind].Name)
	}
}

// cleaner leaves out what could steer a terminal.
type cleaner struct{ w io.Writer }

// Write implements io.Writer.
func (c cleaner) Write(b []byte) (int, error) {
	lines := strings.Split(string(b), "\n")
	for i := range lines {
		lines[i] = clean(lines[i])
	}
	if _, err := io.WriteString(c.w, strings.Join(lines, "\n")); err != nil {
		return 0, err
	}
	return len(b), nil
}
