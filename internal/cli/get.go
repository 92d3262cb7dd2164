package cli

import (
	"fmt"
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

// named is for commands with n arguments, the last of which names an object.
func named(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := cobra.ExactArgs(n)(cmd, args); err != nil {
			return err //nolint:wrapcheck // because it is cobra's own text about arguments
		}
		return checkName("NAME", args[n-1])
	}
}

// checkName refuses what cannot be a name, and would lead to another page.
func checkName(what, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%s must not be empty", what)
	case strings.Contains(name, "/") || strings.Trim(name, ".") == "":
		return fmt.Errorf("%s %q is no name of an object", what, name)
	}
	return nil
}

// meshFlag adds --mesh. Kinds outside of meshes have it as well, without effect,
// so that scripts can pass it for every kind.
func (a *App) meshFlag(cmd *cobra.Command, mesh *string) {
	cmd.Flags().StringVarP(mesh, "mesh", "m", model.DefaultMesh, "mesh to use")
	_ = cmd.RegisterFlagCompletionFunc("mesh", a.completeMeshes)
}

// pagingFlags adds --size and --offset.
func pagingFlags(cmd *cobra.Command, p *client.Paging) {
	cmd.Flags().IntVar(&p.Size, "size", 0, "maximum number of objects to show; 0 = as many as the control plane gives at once")
	cmd.Flags().StringVar(&p.Offset, "offset", "", "where to go on, as the page before said")
}

func (a *App) getMany(k *model.Kind, out *format) *cobra.Command {
	var (
		mesh   string
		paging client.Paging
	)
	cmd := &cobra.Command{
		Use: k.Many, Short: "Show " + k.DisplayPlural, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			p, err := c.Page(cmd.Context(), client.Path(k, mesh, ""), paging, nil)
			if err != nil {
				return err
			}
			if *out != asTable {
				return a.document(p.Raw, *out)
			}
			objs, err := client.Objects(k, p.Items)
			if err != nil {
				return err
			}
			table(a.Out, objectRows(k, objs, a.Now()))
			a.footer(p.Next)
			return nil
		},
	}
	a.meshFlag(cmd, &mesh)
	pagingFlags(cmd, &paging)
	return cmd
}

func (a *App) getOne(k *model.Kind, out *format) *cobra.Command {
	var mesh string
	cmd := &cobra.Command{
		Use: k.One + " NAME", Short: "Show a single " + k.Display, Args: named(1),
		ValidArgsFunction: a.completeNames(func([]string) *model.Kind { return k }, &mesh, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			o, doc, err := c.Object(cmd.Context(), k, mesh, args[0])
			switch {
			case client.NotFound(err):
				return absent(k, mesh)
			case err != nil:
				return err
			case *out == asTable:
				table(a.Out, objectRows(k, []*model.Object{o}, a.Now()))
				return nil
			case *out == asJSON:
				return a.document(doc, asJSON)
			}
			b, err := objectYAML(doc, k.Shape)
			if err != nil {
				return err
			}
			return a.write(b)
		},
	}
	a.meshFlag(cmd, &mesh)
	return cmd
}

func absent(k *model.Kind, mesh string) error {
	if k.Scope == model.InMesh {
		return fmt.Errorf("No resources found in %s mesh", mesh) //nolint:staticcheck // because scripts match on 2.10's sentence
	}
	return fmt.Errorf("No resources found") //nolint:staticcheck // because scripts match on 2.10's sentence
}
