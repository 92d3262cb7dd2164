package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"weft/internal/client"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// inspectMeshGateway lists the proxies that serve a gateway.
func (a *App) inspectMeshGateway(out *format) *cobra.Command {
	var mesh string
	cmd := &cobra.Command{
		Use: "meshgateway NAME", Short: "Show the data plane proxies of a MeshGateway", Args: named(1),
		ValidArgsFunction: a.completeNames(func([]string) *model.Kind { return kinds.MeshGateway }, &mesh, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			var answer struct {
				Items []struct {
					Dataplane ref `json:"dataplane"`
				} `json:"items"`
			}
			doc, err := a.ask(cmd.Context(), client.Path(kinds.MeshGateway, mesh, args[0])+"/dataplanes", nil, &answer)
			if err != nil {
				return err
			}
			if *out != asTable {
				return a.document(doc, *out)
			}
			for _, item := range answer.Items {
				fmt.Fprintln(a.Out, clean(item.Dataplane.Name))
			}
			return nil
		},
	}
	a.meshFlag(cmd, &mesh)
	return cmd
}
