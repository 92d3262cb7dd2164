package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"weft/internal/client"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/model"
)

// deleteCommand deletes one object.
func (a *App) deleteCommand() *cobra.Command {
	var mesh string
	cmd := &cobra.Command{
		Use: "delete TYPE NAME", Short: "Delete an object", Args: named(2),
		Example: "  kumactl delete dataplane web-1\n  kumactl delete meshtimeout slow --mesh shop",
		RunE: func(cmd *cobra.Command, args []string) error {
			k, err := writable(args[0])
			if err != nil {
				return err
			}
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			err = c.Delete(cmd.Context(), k, mesh, args[1])
			if client.NotFound(err) {
				return fmt.Errorf("there is no %s with name %q", k.Name, args[1])
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(a.Out, "deleted %s %q\n", k.Name, args[1])
			return nil
		},
	}
	a.meshFlag(cmd, &mesh)
	names := a.completeNames(func(args []string) *model.Kind {
		k, _ := writable(args[0])
		return k
	}, &mesh, 1)
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return singulars(), cobra.ShellCompDirectiveNoFileComp
		}
		return names(cmd, args, start)
	}
	return cmd
}

// writable returns the kind that kumactl calls so for one object.
func writable(arg string) (*model.Kind, error) {
	for _, k := range catalog.Kinds {
		if k.One != arg || arg == "" {
			continue
		}
		if k.ReadOnly {
			return nil, fmt.Errorf("TYPE: %s is readOnly, can't use it for write action", arg)
		}
		return k, nil
	}
	return nil, fmt.Errorf("unknown TYPE: %s. Allowed values: %s", arg, strings.Join(singulars(), ", "))
}

// singulars lists the kinds that users may write, as kumactl calls them.
func singulars() []string {
	var out []string
	for _, k := range catalog.Kinds {
		if k.One != "" && !k.ReadOnly {
			out = append(out, k.One)
		}
	}
	slices.Sort(out)
	return out
}
