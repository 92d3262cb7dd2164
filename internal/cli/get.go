package cli

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"weft/internal/client"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/model"
)

// getCommand shows objects; its subcommands come from the catalog.
func (a *App) getCommand() *cobra.Command {
	var out format
	cmd := group("get", "Show objects")
	outputFlag(cmd, &out)
	for _, k := range catalog.Kinds {
		if k.Many != "" {
			cmd.AddCommand(a.getMany(k, &out))
		}
		if k.One != "" && k.One != k.Many {
			cmd.AddCommand(a.getOne(k, &out))
		}
	}
	return cmd
}

func meshFlag(cmd *cobra.Command, k *model.Kind, mesh *string) {
	if k.Scope == model.InMesh {
		cmd.Flags().StringVarP(mesh, "mesh", "m", model.DefaultMesh, "mesh to use")
	}
}

func (a *App) getMany(k *model.Kind, out *format) *cobra.Command {
	var (
		mesh, offset string
		size         int
	)
	cmd := &cobra.Command{
		Use: k.Many, Short: "Show " + k.DisplayPlural, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			a.checkVersion(cmd.Context(), c)
			p, err := c.List(cmd.Context(), k, mesh, size, offset, nil)
			if err != nil {
				return err
			}
			if *out != "table" {
				return a.raw(p.Raw, *out)
			}
			table(a.Out, objectRows(k, p.Objects, a.Now()))
			if p.Next != "" {
				fmt.Fprintf(a.Out, "\nRerun command with --offset=%s argument to retrieve more resources\n", p.Next)
			}
			return nil
		},
	}
	meshFlag(cmd, k, &mesh)
	cmd.Flags().IntVar(&size, "size", 0, "maximum number of elements to return; 0 = the server's default")
	cmd.Flags().StringVar(&offset, "offset", "", "the offset that indicates starting element of the list to retrieve")
	return cmd
}

func (a *App) getOne(k *model.Kind, out *format) *cobra.Command {
	var mesh string
	cmd := &cobra.Command{
		Use: k.One + " NAME", Short: "Show a single " + k.Display, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			a.checkVersion(cmd.Context(), c)
			b, err := c.Do(cmd.Context(), http.MethodGet, client.Path(k, mesh, args[0]), nil, nil)
			if client.NotFound(err) {
				return absent(k, mesh)
			}
			if err != nil {
				return err
			}
			if *out != "table" {
				return a.raw(b, *out)
			}
			o, err := k.Decode(b)
			if err != nil {
				return fmt.Errorf("understand the control plane's answer: %w", err)
			}
			table(a.Out, objectRows(k, []*model.Object{o}, a.Now()))
			return nil
		},
	}
	meshFlag(cmd, k, &mesh)
	return cmd
}

func absent(k *model.Kind, mesh string) error {
	if k.Scope == model.InMesh {
		return fmt.Errorf("No resources found in %s mesh", mesh) //nolint:revive,staticcheck // because scripts match on 2.10's sentence
	}
	return fmt.Errorf("No resources found") //nolint:revive,staticcheck // because scripts match on 2.10's sentence
}

// raw prints what the API answered.
func (a *App) raw(doc []byte, f format) error {
	b, err := indented(doc)
	if f == "yaml" {
		b, err = jsonToYAML(doc)
	}
	if err != nil {
		return err
	}
	_, err = a.Out.Write(b)
	return err
}

// deleteCommand deletes one object.
func (a *App) deleteCommand() *cobra.Command {
	var mesh string
	cmd := &cobra.Command{
		Use: "delete TYPE NAME", Short: "Delete an object", Args: cobra.ExactArgs(2),
		ValidArgs: singulars(),
		RunE: func(cmd *cobra.Command, args []string) error {
			k := deletable(args[0])
			if k == nil {
				return fmt.Errorf("unknown TYPE: %s. Allowed values: %s", args[0], strings.Join(singulars(), ", "))
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			a.checkVersion(cmd.Context(), c)
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
	cmd.Flags().StringVarP(&mesh, "mesh", "m", model.DefaultMesh, "mesh to use")
	return cmd
}

// deletable returns the kind that kumactl calls so for one object.
func deletable(arg string) *model.Kind {
	for _, k := range catalog.Kinds {
		if k.One == arg && arg != "" && !k.ReadOnly {
			return k
		}
	}
	return nil
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
