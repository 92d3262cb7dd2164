package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"

	"github.com/spf13/cobra"

	"weft/internal/client"
	"weft/internal/cp/explain"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// explainCommand answers why: what policies set on a proxy, and what becomes of
// a request.
func (a *App) explainCommand() *cobra.Command {
	var out format
	cmd := group("explain", "Explain what policies do to a proxy or to a request, and why",
		a.explainDataplane(&out), a.explainRequest(&out))
	outputFlag(cmd, &out)
	return cmd
}

func (a *App) explainDataplane(out *format) *cobra.Command {
	var mesh string
	cmd := &cobra.Command{
		Use: "dataplane NAME", Short: "Explain which policy set which value on a proxy, over which others", Args: named(1),
		Example:           "  kumactl explain dataplane web-1\n  kumactl explain dataplane web-1 --mesh shop -o yaml",
		ValidArgsFunction: a.completeNames(func([]string) *model.Kind { return kinds.Dataplane }, &mesh, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.explain(cmd.Context(), client.Path(kinds.Dataplane, mesh, args[0])+"/_explain", nil, *out, func(doc []byte) (*story, error) {
				var p explain.Proxy
				if err := json.Unmarshal(doc, &p); err != nil {
					return nil, fmt.Errorf("read the answer: %w", err)
				}
				return proxyStory(&p), nil
			})
		},
	}
	a.meshFlag(cmd, &mesh)
	return cmd
}

func (a *App) explainRequest(out *format) *cobra.Command {
	var (
		mesh, from, to, method string
		headers                []string
	)
	cmd := &cobra.Command{
		Use: "request", Short: "Explain what becomes of a request: route, endpoints, permission, and the policies on the way", Args: cobra.NoArgs,
		Example: `  kumactl explain request --from web-1 --to http://backend.mesh/v1/cart
  kumactl explain request --from web-1 --to backend.svc.mesh.local:8080 --method POST --header 'x-user: jo'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkName("--from", from); err != nil {
				return err
			}
			q := url.Values{"to": {to}, "method": {method}, "header": headers}
			return a.explain(cmd.Context(), client.Path(kinds.Dataplane, mesh, from)+"/_explain-request", q, *out, func(doc []byte) (*story, error) {
				var p explain.Answer
				if err := json.Unmarshal(doc, &p); err != nil {
					return nil, fmt.Errorf("read the answer: %w", err)
				}
				return requestStory(&p), nil
			})
		},
	}
	a.meshFlag(cmd, &mesh)
	f := cmd.Flags()
	f.StringVar(&from, "from", "", "name of the Dataplane whose workload sends the request (required)")
	f.StringVar(&to, "to", "", "where the request goes: a URL, host:port, a DNS name or the name of a service (required)")
	f.StringVar(&method, "method", "GET", "method of the request")
	f.StringArrayVar(&headers, "header", nil, "header of the request, like 'name: value'; may be repeated")
	_ = cmd.MarkFlagRequired("from")
	_ = cmd.MarkFlagRequired("to")
	_ = cmd.RegisterFlagCompletionFunc("from", a.completeNames(func([]string) *model.Kind { return kinds.Dataplane }, &mesh, 0))
	return cmd
}

// explain prints an answer in a format; tell makes the text of it.
func (a *App) explain(ctx context.Context, path string, q url.Values, out format, tell func(doc []byte) (*story, error)) error {
	if err := out.check(); err != nil {
		return err
	}
	c, err := a.connect(ctx)
	if err != nil {
		return err
	}
	doc, err := c.Get(ctx, path, q)
	if err != nil {
		return err
	}
	if out != asTable {
		return a.document(doc, out)
	}
	s, err := tell(doc)
	if err != nil {
		return err
	}
	return a.write([]byte(s.String()))
}
