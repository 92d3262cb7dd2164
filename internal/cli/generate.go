package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/mesh/model"
)

// generateCommand makes tokens, keys and certificates.
func (a *App) generateCommand() *cobra.Command {
	return group("generate", "Make tokens, keys and certificates",
		a.dataplaneToken(), a.zoneToken(), a.userToken(), a.signingKey(), a.publicKey(), a.tlsCertificate())
}

// tokenFlags are common to all tokens.
type tokenFlags struct {
	validFor time.Duration
	key, kid string
}

func (t *tokenFlags) add(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&t.validFor, "valid-for", 0, "how long the token is valid, for example 24h (required)")
	cmd.Flags().StringVar(&t.key, "signing-key-path", "", "path to the signing key; the token is made here, without the control plane")
	cmd.Flags().StringVar(&t.kid, "kid", "", "id of the key that signs the token; needed with --signing-key-path")
	_ = cmd.MarkFlagRequired("valid-for")
}

func (t *tokenFlags) check() error {
	switch {
	case t.key != "" && t.kid == "":
		return errors.New("--kid is required when --signing-key-path is used")
	case t.key == "" && t.kid != "":
		return errors.New("--kid can only be used together with --signing-key-path")
	case t.validFor <= 0:
		return errors.New("--valid-for must be more than zero")
	}
	return nil
}

// issue prints a token: made here if there is a key, else by the control plane.
func (a *App) issue(ctx context.Context, t *tokenFlags, path string, request map[string]any, offline func() (string, error)) error {
	if err := t.check(); err != nil {
		return err
	}
	if t.key != "" {
		token, err := offline()
		if err != nil {
			return err
		}
		_, err = fmt.Fprint(a.Out, token)
		return err
	}
	request["validFor"] = t.validFor.String()
	body, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("ask for a token: %w", err)
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	token, err := c.Do(ctx, http.MethodPost, path, nil, body)
	if err != nil {
		return fmt.Errorf("failed to generate a token: %w", err)
	}
	_, err = a.Out.Write(token)
	return err
}

func (a *App) dataplaneToken() *cobra.Command {
	var (
		t                     tokenFlags
		name, mesh, proxyType string
		tags                  map[string]string
	)
	cmd := &cobra.Command{
		Use: "dataplane-token", Short: "Make a token that proves the identity of a data plane proxy", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			multi := map[string][]string{}
			for k, v := range tags {
				multi[k] = strings.Split(v, ",")
			}
			return a.issue(cmd.Context(), &t, "/tokens/dataplane",
				map[string]any{"name": name, "mesh": mesh, "tags": multi, "type": proxyType},
				func() (string, error) {
					return a.signDataplane(&t, name, mesh, multi, proxyType)
				})
		},
	}
	t.add(cmd)
	cmd.Flags().StringVar(&name, "name", "", "name of the proxy; empty = any")
	cmd.Flags().StringVarP(&mesh, "mesh", "m", model.DefaultMesh, "mesh of the proxy")
	cmd.Flags().StringVar(&proxyType, "proxy-type", "", "type of the proxy: dataplane or ingress")
	cmd.Flags().StringVar(&proxyType, "type", "", "type of the proxy")
	_ = cmd.Flags().MarkDeprecated("type", "use --proxy-type instead")
	cmd.Flags().StringToStringVar(&tags, "tag", nil, "tags that the proxy must have; separate several values by commas: kuma.io/service=a,b")
	return cmd
}

// zoneScopes are what a zone token may be for.
var zoneScopes = []string{"ingress", "egress", "cp"}

func (a *App) zoneToken() *cobra.Command {
	var (
		t     tokenFlags
		zone  string
		scope []string
	)
	cmd := &cobra.Command{
		Use: "zone-token", Short: "Make a token that proves the identity of a zone's proxies", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, s := range scope {
				if s != "ingress" && s != "egress" && s != "cp" {
					return fmt.Errorf("scope %q is not known: use %s", s, strings.Join(zoneScopes, ", "))
				}
			}
			return a.issue(cmd.Context(), &t, "/tokens/zone", map[string]any{"zone": zone, "scope": scope},
				func() (string, error) { return a.signZone(&t, zone, scope) })
		},
	}
	t.add(cmd)
	cmd.Flags().StringVar(&zone, "zone", "", "name of the zone (required)")
	cmd.Flags().StringSliceVar(&scope, "scope", []string{"ingress", "egress"}, "what the token may be used for")
	_ = cmd.MarkFlagRequired("zone")
	return cmd
}

func (a *App) userToken() *cobra.Command {
	var (
		t      tokenFlags
		name   string
		groups []string
	)
	cmd := &cobra.Command{
		Use: "user-token", Short: "Make a token that proves the identity of a user", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.issue(cmd.Context(), &t, "/tokens/user", map[string]any{"name": name, "groups": groups},
				func() (string, error) { return a.signUser(&t, name, groups) })
		},
	}
	t.add(cmd)
	cmd.Flags().StringVar(&name, "name", "", "name of the user (required)")
	cmd.Flags().StringSliceVar(&groups, "group", nil, "group of the user; may be repeated")
	_ = cmd.MarkFlagRequired("name")
	return cmd
}
