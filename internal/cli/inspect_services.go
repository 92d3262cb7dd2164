package cli

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"weft/internal/client"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// inspectServices shows the services of a mesh.
func (a *App) inspectServices(out *format) *cobra.Command {
	var mesh string
	cmd := &cobra.Command{
		Use: "services", Short: "Show the services of a mesh", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			items, err := c.All(cmd.Context(), client.Path(kinds.ServiceInsight, mesh, ""), nil)
			if err != nil {
				return err
			}
			if *out != asTable {
				doc, err := listDocument(overviews(items))
				if err != nil {
					return err
				}
				return a.document(doc, *out)
			}
			rows := [][]string{{"SERVICE", "STATUS", "DATAPLANES"}}
			for _, item := range items {
				r, err := serviceRow(item)
				if err != nil {
					return fmt.Errorf("understand the control plane's answer: %w", err)
				}
				rows = append(rows, r)
			}
			table(a.Out, rows)
			return nil
		},
	}
	a.meshFlag(cmd, &mesh)
	return cmd
}

func serviceRow(item json.RawMessage) ([]string, error) {
	m, err := tree(item)
	if err != nil {
		return nil, err
	}
	var s kinds.ServiceSummary
	if err := model.DecodeProto(m, &s); err != nil {
		return nil, err
	}
	status := kinds.StatusOffline
	switch s.Status {
	case kinds.ServiceStatusOnline:
		status = kinds.StatusOnline
	case kinds.ServiceStatusPartiallyDegraded:
		status = kinds.StatusPartiallyDegraded
	case kinds.ServiceStatusNone, kinds.ServiceStatusOffline, kinds.ServiceStatusNotAvailable:
	}
	var n kinds.ServiceDataplaneStat
	if s.Dataplanes != nil {
		n = *s.Dataplanes
	}
	return []string{text(m, "name"), string(status), fmt.Sprintf("%d/%d", n.Online, n.Total)}, nil
}

// overviews gives items the type that kumactl has always printed for them.
func overviews(items []json.RawMessage) []json.RawMessage {
	out := make([]json.RawMessage, len(items))
	for i, item := range items {
		var b bytes.Buffer
		if json.Compact(&b, item) != nil {
			out[i] = item
			continue
		}
		out[i] = bytes.Replace(b.Bytes(), []byte(`"type":"ServiceInsight"`), []byte(`"type":"ServiceOverview"`), 1)
	}
	return out
}
