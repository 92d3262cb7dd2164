package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"weft/internal/client"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/manifest"
	"weft/internal/mesh/model"
)

// applyOptions are the flags of "apply".
type applyOptions struct {
	files  []string
	vars   map[string]string
	dryRun bool
}

func (a *App) applyCommand() *cobra.Command {
	var o applyOptions
	cmd := &cobra.Command{
		Use: "apply", Short: "Create or change objects",
		Long: "Create or change the objects that files, folders, URLs or standard input describe. Everything is checked before anything is sent.",
		Args: cobra.NoArgs,
		Example: `  kumactl apply -f mesh.yaml
  kumactl apply -f policies/            # every .yaml, .yml and .json file below the folder
  kumactl apply -f template.yaml -v team=blue -v size.cpu=2
  cat mesh.yaml | kumactl apply -f -`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.apply(cmd.Context(), o) },
	}
	cmd.Flags().StringArrayVarP(&o.files, "file", "f", nil, "path to a file or folder, URL, or `-` for standard input; may be repeated")
	cmd.Flags().StringToStringVarP(&o.vars, "var", "v", nil, "variable to replace in the files, name=value; {{ name }} stands for it")
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "print what would be applied and change nothing")
	_ = cmd.MarkFlagRequired("file")
	_ = cmd.MarkFlagFilename("file", "yaml", "yml", "json")
	return cmd
}

func (a *App) apply(ctx context.Context, o applyOptions) error {
	objs, err := a.collect(ctx, o)
	if err != nil || len(objs) == 0 {
		return err
	}
	if o.dryRun {
		return a.printObjects(objs)
	}
	c, err := a.connect(ctx)
	if err != nil {
		return err
	}
	objs = a.writable(objs)
	for i, obj := range objs {
		warnings, err := c.Put(ctx, obj)
		a.warn(warnings...)
		if err == nil {
			continue
		}
		if len(objs) == 1 {
			return err
		}
		return fmt.Errorf("%s: %w\n%d of %d objects were applied before it", obj.Key(), err, i, len(objs))
	}
	return nil
}

// writable leaves out the objects that only control planes write, such as the
// insights in an export of everything. Where there is nothing else they stay, and
// the control plane refuses them.
func (a *App) writable(objs []*model.Object) []*model.Object {
	left := map[string]int{}
	out := make([]*model.Object, 0, len(objs))
	for _, o := range objs {
		if o.Kind.ReadOnly {
			left[o.Kind.Name]++
			continue
		}
		out = append(out, o)
	}
	if len(out) == 0 {
		return objs
	}
	for _, kind := range slices.Sorted(maps.Keys(left)) {
		a.warn(fmt.Sprintf("%d of kind %s left out: control planes write them by themselves", left[kind], kind))
	}
	return out
}

func (a *App) warn(warnings ...string) {
	for _, w := range warnings {
		fmt.Fprintf(a.Err, "Warning: %s\n", clean(w))
	}
}

// collect reads all files. Comments alone are no mistake, nothing at all is.
func (a *App) collect(ctx context.Context, o applyOptions) ([]*model.Object, error) {
	var (
		objs  []*model.Object
		wrong []error
		empty = true
	)
	for _, file := range o.files {
		sources, err := a.read(ctx, file)
		if err != nil {
			return nil, err
		}
		for _, s := range sources {
			empty = empty && s.empty()
			found, err := a.objects(s, o.vars)
			if err != nil {
				wrong = append(wrong, err)
			}
			objs = append(objs, found...)
		}
	}
	switch {
	case len(wrong) > 0:
		return nil, fmt.Errorf("YAML contains invalid resource: %w", errors.Join(wrong...))
	case len(objs) == 0 && empty:
		return nil, errors.New("no resource(s) passed to apply")
	}
	return objs, nil
}

// objects reads a file. Everything that is wrong with it is in the error.
func (a *App) objects(s source, vars map[string]string) ([]*model.Object, error) {
	text := s.text
	if len(vars) > 0 {
		rendered, notes, err := replaceVariables(string(text), vars)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		for _, n := range notes {
			a.warn(s.name + ": " + n)
		}
		text = []byte(rendered)
	}
	docs, err := manifest.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	var (
		out   []*model.Object
		wrong []error
	)
	for i := range docs {
		o, err := docs[i].Object(catalog.Find)
		if err == nil {
			// A misspelt field is often why a check fails, so it is told first.
			for _, u := range docs[i].Unknown(o.Kind) {
				if o.Kind.ReadOnly {
					break // it is not sent, or refused
				}
				a.warn(fmt.Sprintf("%s: %s; it is ignored", s.name, u))
			}
			err = check(o)
		}
		if err != nil {
			for _, e := range located(&docs[i], err) {
				wrong = append(wrong, fmt.Errorf("%s: %w", s.name, e))
			}
			continue
		}
		out = append(out, o)
	}
	return out, errors.Join(wrong...)
}

// located puts lines to what is wrong with a document.
func located(d *manifest.Document, err error) manifest.Errors {
	var have manifest.Errors
	if errors.As(err, &have) {
		return have
	}
	return d.Locate(err)
}

// check finds what is wrong with an object without asking the control plane.
// What depends on other objects only the control plane can tell.
func check(o *model.Object) error {
	var v model.Violations
	model.CheckName(o.Meta.Name, v.At("name"))
	if o.Kind.Scope == model.InMesh {
		model.CheckMeshRef(o.Meta.Mesh, v.At("mesh"))
	}
	model.CheckLabels(o.Meta.Labels, v.At("labels"))
	if o.Kind.Validate == nil {
		return v.Err()
	}
	if o.Kind.Default != nil { // rules hold for what is left out, too; what is sent stays as written
		o = o.Clone()
		o.Spec = model.CopyValue(o.Spec)
		o.Kind.Default(o)
	}
	o.Kind.Validate(o, &v)
	return v.Err()
}

// printObjects shows objects as YAML documents.
func (a *App) printObjects(objs []*model.Object) error {
	for i, o := range objs {
		doc, err := client.Document(o)
		if err != nil {
			return err
		}
		b, err := objectYAML(doc, o.Kind.Shape)
		if err != nil {
			return err
		}
		if i > 0 {
			b = append([]byte("---\n"), b...)
		}
		if err := a.write(b); err != nil {
			return err
		}
	}
	return nil
}
