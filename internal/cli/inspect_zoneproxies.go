package cli

import (
	"encoding/json"
	"net/url"

	"github.com/spf13/cobra"

	"weft/internal/client"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// zoneProxies says how ingresses and egresses of zones are inspected.
type zoneProxies struct {
	kind       *model.Kind
	many, one  string // commands
	dumps      string // REST collection of what Envoy tells
	part       string // name of the insight in an overview
	plainWords string
}

var (
	zoneIngresses = zoneProxies{kinds.ZoneIngress, "zone-ingresses", "zoneingress", "zoneingresses", "zoneIngressInsight", "zone ingress"}
	zoneEgresses  = zoneProxies{kinds.ZoneEgress, "zoneegresses", "zoneegress", "zoneegresses", "zoneEgressInsight", "zone egress"}
)

var zoneProxyHead = []string{
	"NAME", "STATUS", "LAST CONNECTED AGO", "LAST UPDATED AGO", "TOTAL UPDATES", "TOTAL ERRORS", "KUMA-DP VERSION", "ENVOY VERSION",
}

// inspectZoneProxies shows all of them with what is known of their connections.
func (a *App) inspectZoneProxies(z zoneProxies, out *format) *cobra.Command {
	row := func(item json.RawMessage) ([]string, error) {
		m, err := tree(item)
		if err != nil {
			return nil, err
		}
		var insight kinds.ZoneProxyInsightSpec
		if err := part(m, z.part, &insight); err != nil {
			return nil, err
		}
		status := kinds.StatusOffline
		if insight.Online() {
			status = kinds.StatusOnline
		}
		dp, envoy := versions(insight.Latest())
		row := append([]string{text(m, "name"), string(status)}, a.cells(proxyConnection(insight.Subscriptions))...)
		return append(row, dp, envoy), nil
	}
	return &cobra.Command{
		Use: z.many, Short: "Show " + z.plainWords + " proxies with their connections", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.show(cmd.Context(), listing{path: client.Path(z.kind, "", "") + "/_overview", head: zoneProxyHead, row: row}, *out)
		},
	}
}

// inspectZoneProxy shows what the Envoy of one of them tells.
func (a *App) inspectZoneProxy(z zoneProxies) *cobra.Command {
	var d dumpOptions
	cmd := &cobra.Command{
		Use: z.one + " NAME", Short: "Show what the Envoy of a " + z.plainWords + " proxy tells", Args: named(1),
		ValidArgsFunction: a.completeNames(func([]string) *model.Kind { return z.kind }, new(string), 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			page, query, err := d.page()
			if err != nil {
				return err
			}
			return a.raw(cmd.Context(), "/"+z.dumps+"/"+url.PathEscape(args[0])+page, query)
		},
	}
	d.flags(cmd, "config-dump", "config-dump", "stats", "clusters")
	return cmd
}
