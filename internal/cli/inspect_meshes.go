package cli

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"weft/internal/mesh/kinds"
)

// inspectMeshes sums up every mesh.
func (a *App) inspectMeshes(out *format) *cobra.Command {
	return &cobra.Command{
		Use: "meshes", Short: "Show what is in the meshes", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			head := []string{"MESH", "DATAPLANES"}
			for _, c := range meshColumns {
				head = append(head, c.title)
			}
			return a.show(cmd.Context(), listing{path: "/mesh-insights", head: head, row: meshRow}, *out)
		},
	}
}

// meshColumns are the counted kinds.
var meshColumns = []struct{ title, kind string }{
	{"TRAFFIC PERMISSIONS", "TrafficPermission"},
	{"TRAFFIC ROUTES", "TrafficRoute"},
	{"CIRCUIT BREAKERS", "CircuitBreaker"},
	{"HEALTH CHECKS", "HealthCheck"},
	{"FAULT INJECTIONS", "FaultInjection"},
	{"EXTERNAL SERVICES", "ExternalService"},
	{"TRAFFIC TRACES", "TrafficTrace"},
	{"TRAFFIC LOGS", "TrafficLog"},
	{"PROXY TEMPLATES", "ProxyTemplate"},
	{"RATE LIMITS", "RateLimit"},
}

func meshRow(item json.RawMessage) ([]string, error) {
	o, err := kinds.MeshInsight.Decode(item)
	if err != nil {
		return nil, err
	}
	spec := o.Spec.(*kinds.MeshInsightSpec)
	row := []string{o.Meta.Name, fmt.Sprintf("%d/%d", spec.Dataplanes.Online, spec.Dataplanes.Total)}
	for _, c := range meshColumns {
		// External services are no policies, so they are counted elsewhere.
		n := max(spec.Policies[c.kind].Total, spec.Resources[c.kind].Total)
		row = append(row, strconv.FormatUint(uint64(n), 10))
	}
	return row, nil
}
