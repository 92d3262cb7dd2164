package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/mesh/token"
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

// issue prints a token: signed here if there is a key, else by the control plane
// that gets the request.
func (a *App) issue(ctx context.Context, t *tokenFlags, claims token.Claims, kind string, request map[string]any) error {
	if err := t.check(); err != nil {
		return err
	}
	if t.key != "" {
		signed, err := t.sign(claims, a.Now())
		if err != nil {
			return err
		}
		return a.write([]byte(signed))
	}
	request["validFor"] = t.validFor.String()
	body, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("ask for a token: %w", err)
	}
	c, err := a.connect(ctx)
	if err != nil {
		return err
	}
	signed, err := c.Post(ctx, "/tokens/"+kind, body)
	if err != nil {
		return fmt.Errorf("the control plane issued no %s token: %w", kind, err)
	}
	return a.write(signed)
}

// proxyTypes are what a dataplane token may be for.
var proxyTypes = []string{token.TypeDataplane, token.TypeIngress, token.TypeEgress}

func (a *App) dataplaneToken() *cobra.Command {
	var (
		t                     tokenFlags
		name, mesh, proxyType string
		tags                  map[string]string
	)
	cmd := &cobra.Command{
		Use: "dataplane-token", Short: "Make a token that proves the identity of a data plane proxy", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !slices.Contains(append(proxyTypes, ""), proxyType) {
				return fmt.Errorf("proxy type %q is not known: use %s", proxyType, strings.Join(proxyTypes, ", "))
			}
			multi := map[string][]string{}
			for k, v := range tags {
				multi[k] = strings.Split(v, ",")
			}
			return a.issue(cmd.Context(), &t,
				&token.Dataplane{Name: name, Mesh: mesh, Tags: multi, Type: proxyType},
				"dataplane", map[string]any{"name": name, "mesh": mesh, "tags": multi, "type": proxyType})
		},
	}
	t.add(cmd)
	cmd.Flags().StringVar(&name, "name", "", "name of the proxy; empty = any")
	a.meshFlag(cmd, &mesh)
	cmd.Flags().StringVar(&proxyType, "proxy-type", "", "type of the proxy: dataplane, ingress or egress")
	cmd.Flags().StringVar(&proxyType, "type", "", "type of the proxy")
	deprecate(cmd, "type", "please use --proxy-type instead")
	_ = cmd.RegisterFlagCompletionFunc("proxy-type", cobra.FixedCompletions(proxyTypes, cobra.ShellCompDirectiveNoFileComp))
	cmd.Flags().StringToStringVar(&tags, "tag", nil, "tags that the proxy must have; separate several values by commas: kuma.io/service=a,b")
	return cmd
}

// zoneScopes are what a zone token may be for.
var zoneScopes = []string{token.TypeIngress, token.TypeEgress, token.ScopeCP}

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
				if !slices.Contains(zoneScopes, s) {
					return fmt.Errorf("scope %q is not known: use %s", s, strings.Join(zoneScopes, ", "))
				}
			}
			if zone == "" {
				return errors.New("--zone must not be empty")
			}
			return a.issue(cmd.Context(), &t, &token.Zone{Zone: zone, Scope: scope},
				"zone", map[string]any{"zone": zone, "scope": scope})
		},
	}
	t.add(cmd)
	cmd.Flags().StringVar(&zone, "zone", "", "name of the zone (required)")
	cmd.Flags().StringSliceVar(&scope, "scope", []string{token.TypeIngress, token.TypeEgress}, "what the token is good for: ingress, egress, cp (control plane of a zone)")
	_ = cmd.MarkFlagRequired("zone")
	_ = cmd.RegisterFlagCompletionFunc("scope", cobra.FixedCompletions(zoneScopes, cobra.ShellCompDirectiveNoFileComp))
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
			if name == "" {
				return errors.New("--name must not be empty")
			}
			return a.issue(cmd.Context(), &t, &token.User{Name: name, Groups: groups},
				"user", map[string]any{"name": name, "groups": groups})
		},
	}
	t.add(cmd)
	cmd.Flags().StringVar(&name, "name", "", "name of the user (required)")
	cmd.Flags().StringSliceVar(&groups, "group", nil, "group of the user; may be repeated")
	_ = cmd.MarkFlagRequired("name")
	return cmd
}
