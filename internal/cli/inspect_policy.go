package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"weft/internal/client"
	"weft/internal/mesh/model"
)

// affected is a proxy that a policy acts on: Attachments of a sidecar, Listeners
// of a builtin gateway.
type affected struct {
	Dataplane   ref          `json:"dataplane"`
	Attachments []attachment `json:"attachments"`
	Listeners   []struct {
		Port     uint32 `json:"port"`
		Protocol string `json:"protocol"`
		Hosts    []struct {
			HostName string `json:"hostName"`
			Routes   []struct {
				Route        string              `json:"route"`
				Destinations []map[string]string `json:"destinations"`
			} `json:"routes"`
		} `json:"hosts"`
	} `json:"listeners"`
}

// inspectPolicy shows which proxies a policy acts on.
func (a *App) inspectPolicy(k *model.Kind, out *format) *cobra.Command {
	var (
		mesh   string
		newAPI bool
		offset int
	)
	cmd := &cobra.Command{
		Use: k.One + " NAME", Short: "Show the data plane proxies that a " + k.Display + " acts on", Args: named(1),
		ValidArgsFunction: a.completeNames(func([]string) *model.Kind { return k }, &mesh, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			path := client.Path(k, mesh, args[0])
			paging := client.Paging{}
			if offset > 0 {
				paging.Offset = strconv.Itoa(offset)
			}
			if newAPI {
				return a.affectedTable(cmd.Context(), path+"/_resources/dataplanes", paging, *out)
			}
			return a.affectedText(cmd.Context(), path+"/dataplanes", paging, *out)
		},
	}
	a.meshFlag(cmd, &mesh)
	cmd.Flags().BoolVar(&newAPI, "new-api", false, "ask the newer API, which names the proxies only")
	cmd.Flags().IntVar(&offset, "offset", 0, "where to go on")
	return cmd
}

// affectedTable lists the proxies (--new-api).
func (a *App) affectedTable(ctx context.Context, path string, paging client.Paging, out format) error {
	c, err := a.connect(ctx)
	if err != nil {
		return err
	}
	p, err := c.Page(ctx, path, paging, nil)
	if err != nil {
		return err
	}
	if out != asTable {
		return a.document(p.Raw, out)
	}
	rows := [][]string{{"TYPE", "MESH", "NAME"}}
	for _, item := range p.Items {
		m, err := tree(item)
		if err != nil {
			return fmt.Errorf("understand the control plane's answer: %w", err)
		}
		rows = append(rows, []string{text(m, "type"), text(m, "mesh"), text(m, "name")})
	}
	table(a.Out, rows)
	fmt.Fprintf(a.Out, "\nTotal: %d\n", p.Total)
	a.footer(p.Next)
	return nil
}

// affectedText lists the proxies with the parts of them that the policy acts on.
func (a *App) affectedText(ctx context.Context, path string, paging client.Paging, out format) error {
	c, err := a.connect(ctx)
	if err != nil {
		return err
	}
	var answer struct {
		Items []affected `json:"items"`
	}
	q := map[string][]string{}
	if paging.Offset != "" {
		q["offset"] = []string{paging.Offset}
	}
	doc, err := fetchInto(ctx, c, path, q, &answer)
	if err != nil {
		return err
	}
	if out != asTable {
		return a.document(doc, out)
	}
	w := cleaner{a.Out}
	fmt.Fprint(w, "Affected data plane proxies:\n\n")
	for i := range answer.Items {
		answer.Items[i].print(w)
	}
	return nil
}

// print shows one proxy; a policy that acts on the proxy as a whole has nothing
// below the name.
func (f *affected) print(w io.Writer) {
	var parts []attachment
	for _, t := range f.Attachments {
		if t.Type != "dataplane" {
			parts = append(parts, t)
		}
	}
	if len(parts) == 0 && len(f.Listeners) == 0 {
		fmt.Fprintf(w, "  %s\n", f.Dataplane.Name)
		return
	}
	fmt.Fprintf(w, "  %s:\n", f.Dataplane.Name)
	for _, t := range parts {
		fmt.Fprintf(w, "    %s\n", t)
	}
	for _, l := range f.Listeners {
		fmt.Fprintf(w, "    listener (%s:%d):\n", l.Protocol, l.Port)
		for _, h := range l.Hosts {
			fmt.Fprintf(w, "      %s:\n", h.HostName)
			for _, r := range h.Routes {
				fmt.Fprintf(w, "        %s:\n", r.Route)
				for _, d := range r.Destinations {
					fmt.Fprintf(w, "          service %s\n", d[model.TagService])
				}
			}
		}
	}
	fmt.Fprintln(w)
}
