package cli

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"weft/internal/mesh/kinds"
)

// inspectZones shows zones with what is known of their connections to global.
func (a *App) inspectZones(out *format) *cobra.Command {
	return &cobra.Command{
		Use: "zones", Short: "Show zones with their connections", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.show(cmd.Context(), listing{path: "/zones/_overview", head: zoneHead, row: a.zoneRow}, *out)
		},
	}
}

var zoneHead = []string{
	"NAME", "STATUS", "LAST CONNECTED AGO", "LAST UPDATED AGO", "TOTAL UPDATES", "TOTAL ERRORS", "ZONE-CP VERSION", "BACKEND",
}

func (a *App) zoneRow(item json.RawMessage) ([]string, error) {
	m, err := tree(item)
	if err != nil {
		return nil, err
	}
	var (
		spec    kinds.ZoneSpec
		insight kinds.ZoneInsightSpec
	)
	if err := part(m, "zone", &spec); err != nil {
		return nil, err
	}
	if err := part(m, "zoneInsight", &insight); err != nil {
		return nil, err
	}
	status := kinds.StatusOffline
	if spec.IsEnabled() && insight.Online() {
		status = kinds.StatusOnline
	}
	var (
		c                connection
		version, backend string
	)
	for i := range insight.Subscriptions {
		s := &insight.Subscriptions[i]
		c.add(s.ConnectTime, s.Status.LastUpdateTime, s.Status.Total)
		if s.Version != nil && s.Version.KumaCP != nil {
			version = s.Version.KumaCP.Version
		}
		backend = storeType(s.Config)
	}
	row := append([]string{text(m, "name"), string(status)}, a.cells(c)...)
	return append(row, version, backend), nil
}

// storeType returns the store that the configuration of a zone's control plane
// names; only the newest connection of a zone carries it.
func storeType(config string) string {
	var c struct {
		Store struct {
			Type string `json:"type"`
		} `json:"store"`
	}
	if json.Unmarshal([]byte(config), &c) != nil {
		return ""
	}
	return c.Store.Type
}
