package cli

import (
	"fmt"

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
			return a.write(append(b, '\n'))
		},
	}
	cps := group("control-planes", "Manage known control planes",
		a.addCommand(), a.listCommand(), a.switchCommand(), a.removeCommand())
	return group("config", "Manage the configuration of kumactl", view, cps)
}

// nameFlag adds --name with the names that are there.
func (a *App) nameFlag(cmd *cobra.Command, name *string) {
	cmd.Flags().StringVar(name, "name", "", "reference name of the control plane (required)")
	_ = cmd.MarkFlagRequired("name")
	_ = cmd.RegisterFlagCompletionFunc("name", a.completeContexts)
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
	a.nameFlag(cmd, &name)
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
			wasActive := a.settings.CurrentContext
			a.settings.drop(name)
			if err := a.save(); err != nil {
				return err
			}
			fmt.Fprintf(a.Out, "removed Control Plane %q\n", name)
			switch now := a.settings.CurrentContext; {
			case now == "":
				fmt.Fprintln(a.Out, "there is no active Control Plane left. Use `kumactl config control-planes add` to add a Control Plane and make it active")
			case now != wasActive:
				fmt.Fprintf(a.Out, "switched active Control Plane to %q\n", now)
			}
			return nil
		},
	}
	a.nameFlag(cmd, &name)
	return cmd
}
