package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"weft/internal/client"
)

// addOptions are the flags of "config control-planes add".
type addOptions struct {
	name, address, ca, cert, key, authType string
	overwrite, skipVerify, skipCheck       bool
	headers, authConf                      map[string]string
}

func (a *App) addCommand() *cobra.Command {
	var o addOptions
	cmd := &cobra.Command{
		Use: "add", Short: "Add a control plane and make it the active one", Args: cobra.NoArgs,
		Example: `  kumactl config control-planes add --name=local --address=http://localhost:5681
  kumactl config control-planes add --name=prod --address=https://mesh.example.com:5682 \
    --ca-cert-file=ca.pem --auth-type=tokens --auth-conf token=TOKEN`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.add(cmd.Context(), o) },
	}
	f := cmd.Flags()
	a.nameFlag(cmd, &o.name)
	f.StringVar(&o.address, "address", "", "URL of the control plane's API server (required), for example http://localhost:5681")
	f.BoolVar(&o.overwrite, "overwrite", false, "replace a control plane with the same name")
	f.StringVar(&o.ca, "ca-cert-file", "", "path to the certificate authority that verifies the control plane; without it the roots of this host do")
	f.StringVar(&o.cert, "client-cert-file", "", "path to the certificate that identifies the client")
	f.StringVar(&o.key, "client-key-file", "", "path to the key of the client certificate")
	f.BoolVar(&o.skipVerify, "skip-verify", false, "insecure: do not verify the control plane's certificate, so that anybody in between can read and change everything")
	f.StringToStringVar(&o.headers, "headers", nil, "headers added to every request, for example x-team=a")
	f.StringVar(&o.authType, "auth-type", "", "how to authenticate: tokens")
	f.StringToStringVar(&o.authConf, "auth-conf", nil, "settings of the authentication, for example token=TOKEN")
	f.BoolVar(&o.skipCheck, "skip-check", false, "do not ask the control plane whether it is there")
	_ = cmd.MarkFlagRequired("address")
	_ = cmd.RegisterFlagCompletionFunc("auth-type", cobra.FixedCompletions([]string{"tokens"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (a *App) add(ctx context.Context, o addOptions) error {
	cp, err := o.controlPlane()
	if err != nil {
		return err
	}
	if a.settings.controlPlane(o.name) != nil && !o.overwrite {
		return fmt.Errorf("there is a control plane with the name %q already; --overwrite replaces it", o.name)
	}
	if o.authConf["token"] != "" && strings.HasPrefix(o.address, "http:") && !isLoopback(o.address) {
		a.warn("the address begins with http://, so the token goes over the network in the clear; the API has an https:// address, too (port 5682)")
	}
	if !o.skipCheck {
		if err := a.greet(ctx, cp); err != nil {
			return err
		}
	}
	a.settings.put(cp)
	a.settings.CurrentContext = o.name
	if err := a.save(); err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "added Control Plane %q\nswitched active Control Plane to %q\n", o.name, o.name)
	return nil
}

// controlPlane checks the flags.
func (o addOptions) controlPlane() (*controlPlane, error) {
	u, err := url.Parse(o.address)
	switch {
	case o.name == "":
		return nil, errors.New("--name must not be empty")
	case (o.cert == "") != (o.key == ""):
		return nil, errors.New("give both --client-cert-file and --client-key-file, or none")
	case o.ca != "" && o.skipVerify:
		return nil, errors.New("give either --ca-cert-file, which verifies the control plane, or --skip-verify, which does not")
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("--address is no URL of an API server, such as http://localhost:5681")
	case o.authType == "tokens" && o.authConf["token"] == "":
		return nil, errors.New("--auth-type=tokens needs the token: --auth-conf token=YOUR_TOKEN")
	case o.authType != "" && o.authType != "tokens":
		return nil, fmt.Errorf("authentication type %q is not known; use tokens", o.authType)
	}
	for _, file := range []*string{&o.ca, &o.cert, &o.key} {
		if *file == "" {
			continue
		}
		if *file, err = filepath.Abs(*file); err != nil { // kumactl may run in another folder next time
			return nil, fmt.Errorf("find %s: %w", *file, err)
		}
	}
	api := apiServer{
		URL: o.address, CACertFile: o.ca, ClientCertFile: o.cert, ClientKeyFile: o.key,
		SkipVerify: o.skipVerify, AuthType: o.authType, AuthConf: o.authConf,
	}
	for k, v := range o.headers {
		api.Headers = append(api.Headers, header{k, v})
	}
	slices.SortFunc(api.Headers, func(x, y header) int { return strings.Compare(x.Key, y.Key) })
	return &controlPlane{Name: o.name, Coordinates: coordinates{APIServer: api}}, nil
}

// greet asks a control plane whether it is one.
func (a *App) greet(ctx context.Context, cp *controlPlane) error {
	c, err := a.clientOf(cp)
	if err != nil {
		return err
	}
	i, _, err := c.Index(ctx)
	var answer *client.Error
	switch {
	case err != nil && !errors.As(err, &answer):
		return fmt.Errorf("%w (--skip-check adds it without asking)", err)
	case err != nil || i.Product == "":
		return fmt.Errorf("what answers at %s is no control plane: give the address of its API server, usually with port 5681 or 5682", cp.Coordinates.APIServer.URL)
	}
	return nil
}
