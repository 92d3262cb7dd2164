package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// configCommand manages the list of known control planes.
func (a *App) configCommand() *cobra.Command {
	view := &cobra.Command{
		Use: "view", Short: "Show the configuration", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			b, err := encodeYAML(a.settings)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.Out, string(b))
			return err
		},
	}
	cps := group("control-planes", "Manage known control planes",
		a.addCommand(), a.listCommand(), a.switchCommand(), a.removeCommand())
	return group("config", "Manage the configuration of kumactl", view, cps)
}

// addOptions are the flags of "add".
type addOptions struct {
	name, address, ca, cert, key, authType string
	overwrite, skipVerify, skipCheck       bool
	headers, authConf                      map[string]string
}

func (a *App) addCommand() *cobra.Command {
	var o addOptions
	cmd := &cobra.Command{
		Use: "add", Short: "Add a control plane and make it the active one", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.add(cmd, o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.name, "name", "", "reference name of the control plane (required)")
	f.StringVar(&o.address, "address", "", "URL of the control plane's API server (required), for example http://localhost:5681")
	f.BoolVar(&o.overwrite, "overwrite", false, "replace a control plane with the same name")
	f.StringVar(&o.ca, "ca-cert-file", "", "path to the certificate authority that verifies the control plane's server certificate")
	f.StringVar(&o.cert, "client-cert-file", "", "path to the certificate that identifies the client")
	f.StringVar(&o.key, "client-key-file", "", "path to the key of the client certificate")
	f.BoolVar(&o.skipVerify, "skip-verify", false, "do not verify the server certificate: anybody in between can read and change everything")
	f.StringToStringVar(&o.headers, "headers", nil, "headers added to every request, for example x-team=a")
	f.StringVar(&o.authType, "auth-type", "", "how to authenticate: tokens")
	f.StringToStringVar(&o.authConf, "auth-conf", nil, "settings of the authentication, for example token=TOKEN")
	f.BoolVar(&o.skipCheck, "skip-check", false, "do not ask the control plane whether it is there")
	_ = cmd.MarkFlagRequired("name")
	_ = cmd.MarkFlagRequired("address")
	return cmd
}

func (a *App) add(cmd *cobra.Command, o addOptions) error {
	if (o.cert == "") != (o.key == "") {
		return errors.New("give both --client-cert-file and --client-key-file, or none")
	}
	u, err := url.Parse(o.address)
	if err != nil || u.Host == "" {
		return fmt.Errorf("address %q is no URL of an API server, such as http://localhost:5681", o.address)
	}
	if a.settings.controlPlane(o.name) != nil && !o.overwrite {
		return fmt.Errorf("there is a control plane with the name %q already; --overwrite replaces it", o.name)
	}
	cp := &controlPlane{Name: o.name, Coordinates: coordinates{APIServer: apiServer{
		URL: o.address, CACertFile: o.ca, ClientCertFile: o.cert, ClientKeyFile: o.key,
		SkipVerify: o.skipVerify, AuthType: o.authType, AuthConf: o.authConf,
	}}}
	for k, v := range o.headers {
		cp.Coordinates.APIServer.Headers = append(cp.Coordinates.APIServer.Headers, header{k, v})
	}
	slices.SortFunc(cp.Coordinates.APIServer.Headers, func(x, y header) int { return strings.Compare(x.Key, y.Key) })
	switch {
	case o.authType == "tokens" && o.authConf["token"] == "":
		return errors.New("authentication by tokens needs the token: --auth-conf token=YOUR_TOKEN")
	case o.authType != "" && o.authType != "tokens":
		return fmt.Errorf("authentication type %q is not known; use tokens", o.authType)
	}
	if !o.skipCheck {
		if err := a.greet(cmd, cp); err != nil {
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

// greet asks a control plane whether it is one.
func (a *App) greet(cmd *cobra.Command, cp *controlPlane) error {
	c, err := a.clientOf(cp)
	if err != nil {
		return err
	}
	b, err := c.Do(cmd.Context(), http.MethodGet, "/", nil, nil)
	if err != nil {
		return fmt.Errorf("the control plane at %s does not answer (--skip-check adds it all the same): %w", cp.Coordinates.APIServer.URL, err)
	}
	var index struct {
		Product string `json:"product"`
		Tagline string `json:"tagline"`
	}
	if err := json.Unmarshal(b, &index); err != nil || index.Product == "" && index.Tagline == "" {
		return fmt.Errorf("what answers at %s is no control plane", cp.Coordinates.APIServer.URL)
	}
	return nil
}

func (a *App) listCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List known control planes", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			rows := [][]string{{"ACTIVE", "NAME", "ADDRESS"}}
			active := ""
			if ctx := a.settings.context(a.settings.CurrentContext); ctx != nil {
				active = ctx.ControlPlane
			}
			for _, cp := range a.settings.ControlPlanes {
				mark := ""
				if cp.Name == active {
					mark = "*"
				}
				rows = append(rows, []string{mark, cp.Name, cp.Coordinates.APIServer.URL})
			}
			table(a.Out, rows)
			return nil
		},
	}
}

func (a *App) switchCommand() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use: "switch", Short: "Make another control plane the active one", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if a.settings.context(name) == nil {
				return fmt.Errorf("there is no control plane with the name %q", name)
			}
			a.settings.CurrentContext = name
			if err := a.save(); err != nil {
				return err
			}
			fmt.Fprintf(a.Out, "switched active Control Plane to %q\n", name)
			return nil
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "reference name of the control plane (required)")
	_ = cmd.MarkFlagRequired("name")
	return cmd
}

func (a *App) removeCommand() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use: "remove", Short: "Remove a control plane from the configuration", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if a.settings.controlPlane(name) == nil {
				return fmt.Errorf("there is no control plane with the name %q", name)
			}
			a.settings.drop(name)
			fmt.Fprintf(a.Out, "removed Control Plane %q\n", name)
			if a.settings.context(a.settings.CurrentContext) == nil {
				a.settings.CurrentContext = ""
				if len(a.settings.Contexts) > 0 {
					a.settings.CurrentContext = a.settings.Contexts[0].Name
					fmt.Fprintf(a.Out, "switched active Control Plane to %q\n", a.settings.CurrentContext)
				} else {
					fmt.Fprintln(a.Out, "there is no active Control Plane left. Use `kumactl config control-planes add` to add a Control Plane and make it active")
				}
			}
			return a.save()
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "reference name of the control plane (required)")
	_ = cmd.MarkFlagRequired("name")
	return cmd
}
