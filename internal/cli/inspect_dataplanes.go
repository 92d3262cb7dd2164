package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"weft/internal/client"
	"weft/internal/mesh/kinds"
)

// inspectDataplanes shows proxies with what is known of their connections.
func (a *App) inspectDataplanes(out *format) *cobra.Command {
	var (
		mesh             string
		tags             map[string]string
		gateway, ingress bool
	)
	cmd := &cobra.Command{
		Use: "dataplanes", Short: "Show data plane proxies with their connections", Args: cobra.NoArgs,
		Example: "  kumactl inspect dataplanes --tag kuma.io/service=web --tag version=v1",
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := url.Values{}
			for _, k := range slices.Sorted(maps.Keys(tags)) {
				q.Add("tag", k+":"+tags[k])
			}
			if gateway {
				q.Set("gateway", "true")
			}
			if ingress {
				a.warn("--ingress has no effect: zone ingresses are no dataplanes any more, see \"kumactl inspect zone-ingresses\"")
			}
			return a.show(cmd.Context(), listing{
				path: client.Path(kinds.Dataplane, mesh, "") + "/_overview", query: q, head: dataplaneHead, row: a.dataplaneRow,
			}, *out)
		},
	}
	a.meshFlag(cmd, &mesh)
	cmd.Flags().StringToStringVar(&tags, "tag", nil, "show only proxies with this tag, key=value; may be repeated")
	cmd.Flags().BoolVar(&gateway, "gateway", false, "show only gateways")
	cmd.Flags().BoolVar(&ingress, "ingress", false, "without effect; see \"inspect zone-ingresses\"")
	return cmd
}

var dataplaneHead = []string{
	"MESH", "NAME", "TAGS", "STATUS", "LAST CONNECTED AGO", "LAST UPDATED AGO", "TOTAL UPDATES", "TOTAL ERRORS",
	"CERT REGENERATED AGO", "CERT EXPIRATION", "CERT REGENERATIONS", "CERT BACKEND", "SUPPORTED CERT BACKENDS",
	"KUMA-DP VERSION", "ENVOY VERSION", "DEPENDENCIES VERSIONS", "NOTES",
}

func (a *App) dataplaneRow(item json.RawMessage) ([]string, error) {
	m, err := tree(item)
	if err != nil {
		return nil, err
	}
	var (
		spec    kinds.DataplaneSpec
		insight kinds.DataplaneInsightSpec
	)
	if err := part(m, "dataplane", &spec); err != nil {
		return nil, err
	}
	if err := part(m, "dataplaneInsight", &insight); err != nil {
		return nil, err
	}
	row := []string{text(m, "mesh"), text(m, "name"), spec.Tags().String(), string(kinds.DataplaneStatus(&spec, &insight))}
	row = append(row, a.cells(proxyConnection(insight.Subscriptions))...)
	tls := insight.MTLS
	if tls == nil {
		tls = &kinds.DataplaneMTLS{}
	}
	row = append(row, a.since(tls.LastCertificateRegeneration), date(tls.CertificateExpirationTime),
		strconv.FormatUint(uint64(tls.CertificateRegenerations), 10), orDash(tls.IssuedBackend), strings.Join(tls.SupportedBackends, ","))
	last := insight.Latest()
	dp, envoy := versions(last)
	return append(row, dp, envoy, orDash(dependencies(last)), strings.Join(notes(&spec, last), "; ")), nil
}

// dependencies lists the versions of helpers: "coredns:1.11.1".
func dependencies(s *kinds.DiscoverySubscription) string {
	if s == nil || s.Version == nil {
		return ""
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(s.Version.Dependencies)) {
		out = append(out, name+":"+s.Version.Dependencies[name])
	}
	return strings.Join(out, ", ")
}

// notes says what is not as it should be.
func notes(d *kinds.DataplaneSpec, s *kinds.DiscoverySubscription) []string {
	var out []string
	if d.Gateway() == nil {
		inbounds := d.Inbounds()
		for i := range inbounds {
			if in := &inbounds[i]; in.NotReady() {
				out = append(out, fmt.Sprintf("inbound[port=%d,svc=%s] is not ready", in.Port, in.Service()))
			}
		}
	}
	if s != nil && s.Version != nil {
		if v := s.Version.KumaDP; v != nil && !v.KumaCPCompatible {
			out = append(out, "kuma-dp and the control plane are of releases that do not go together")
		}
		if v := s.Version.Envoy; v != nil && !v.KumaDPCompatible {
			out = append(out, "Envoy is of a version that does not go with kuma-dp")
		}
	}
	return out
}
