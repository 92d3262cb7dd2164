package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cbroglie/mustache"
	"github.com/spf13/cobra"

	"weft/internal/client"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/manifest"
	"weft/internal/mesh/model"
)

// applyOptions are the flags of "apply".
type applyOptions struct {
	file   string
	vars   map[string]string
	dryRun bool
}

func (a *App) applyCommand() *cobra.Command {
	var o applyOptions
	cmd := &cobra.Command{
		Use: "apply", Short: "Create or change objects",
		Long: "Create or change the objects that a file, a folder of files, a URL or standard input (-) describe.",
		Args: cobra.NoArgs,
		Example: `  kumactl apply -f mesh.yaml
  kumactl apply -f policies/            # every .yaml, .yml and .json file below the folder
  kumactl apply -f template.yaml -v team=blue -v size.cpu=2
  cat mesh.yaml | kumactl apply -f -`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.apply(cmd.Context(), o) },
	}
	cmd.Flags().StringVarP(&o.file, "file", "f", "", "path to a file or folder, URL, or - for standard input")
	cmd.Flags().StringToStringVarP(&o.vars, "var", "v", nil, "variable to replace in the file, name=value; {{ name }} stands for it")
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "print what would be applied and change nothing")
	_ = cmd.MarkFlagRequired("file")
	return cmd
}

// source is one file with where it came from.
type source struct {
	name string
	text []byte
}

func (a *App) apply(ctx context.Context, o applyOptions) error {
	sources, err := a.read(ctx, o.file)
	if err != nil {
		return err
	}
	var objs []*model.Object
	for _, s := range sources {
		found, err := a.objects(s, o.vars)
		if err != nil {
			return err
		}
		objs = append(objs, found...)
	}
	if len(objs) == 0 {
		if len(sources) > 0 && slices.ContainsFunc(sources, func(s source) bool { return strings.TrimSpace(string(s.text)) != "" }) {
			return nil // comments alone
		}
		return errors.New("no resource(s) passed to apply: " + o.file + " is empty")
	}
	if o.dryRun {
		return a.print(objs)
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	a.checkVersion(ctx, c)
	for _, obj := range objs {
		warnings, err := c.Put(ctx, obj)
		for _, w := range warnings {
			fmt.Fprintf(a.Err, "Warning: %s\n", w)
		}
		if err != nil {
			var answer *client.Error
			if len(objs) > 1 && errors.As(err, &answer) {
				return fmt.Errorf("%s: %w", obj.Key(), err)
			}
			return err
		}
	}
	return nil
}

// read fetches what --file names.
func (a *App) read(ctx context.Context, file string) ([]source, error) {
	switch {
	case file == "-":
		b, err := io.ReadAll(io.LimitReader(a.In, manifest.MaxSize+1))
		if err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
		return []source{{"standard input", b}}, nil
	case strings.HasPrefix(file, "http://"), strings.HasPrefix(file, "https://"):
		b, err := a.fetch(ctx, file)
		return []source{{file, b}}, err
	}
	st, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("error while reading provided file: %w", err)
	}
	if st.IsDir() {
		return readFolder(file)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("error while reading provided file: %w", err)
	}
	return []source{{file, b}}, nil
}

// readFolder reads every YAML and JSON file below a folder, sorted by path.
func readFolder(dir string) ([]source, error) {
	var out []source
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		switch filepath.Ext(path) {
		case ".yaml", ".yml", ".json":
		default:
			return nil
		}
		b, err := os.ReadFile(path)
		out = append(out, source{path, b})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("error while reading provided folder: %w", err)
	}
	return out, nil
}

func (a *App) fetch(ctx context.Context, url string) ([]byte, error) {
	if a.apiTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, a.apiTimeout)
		defer cancel()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", url, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetch the file: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch %s: the server answered %s", url, resp.Status)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, manifest.MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", url, err)
	}
	return b, nil
}

// objects reads a file. Everything that is wrong with it is in the error.
func (a *App) objects(s source, vars map[string]string) ([]*model.Object, error) {
	text := s.text
	if len(vars) > 0 {
		rendered, err := mustache.Render(string(text), nest(vars))
		if err != nil {
			return nil, fmt.Errorf("%s: replace variables: %w", s.name, err)
		}
		text = []byte(rendered)
	}
	docs, err := manifest.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("YAML contains invalid resource: %s: %w", s.name, err)
	}
	var (
		out   []*model.Object
		wrong manifest.Errors
	)
	for i := range docs {
		o, err := docs[i].Object(catalog.Find)
		if err == nil {
			err = check(o)
		}
		if err != nil {
			wrong = append(wrong, located(&docs[i], err)...)
			continue
		}
		for _, u := range docs[i].Unknown(o.Kind) {
			fmt.Fprintf(a.Err, "Warning: %s: %s; it is ignored\n", s.name, u)
		}
		out = append(out, o)
	}
	if len(wrong) > 0 {
		return nil, fmt.Errorf("YAML contains invalid resource: %s: %w", s.name, wrong)
	}
	return out, nil
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
func check(o *model.Object) error {
	var v model.Violations
	if o.Meta.Name == "" {
		v.At("name").Add("must be set")
	}
	if o.Kind.Scope == model.InMesh && o.Meta.Mesh == "" {
		v.At("mesh").Add("must be set, %s belongs to a mesh", o.Kind.Name)
	}
	if o.Kind.Validate != nil {
		o.Kind.Validate(o, &v)
	}
	return v.Err()
}

// nest turns a.b=1 into a map within a map, so that templates say {{ a.b }}.
func nest(vars map[string]string) map[string]any {
	out := map[string]any{}
	for key, val := range vars {
		at := out
		parts := strings.Split(key, ".")
		for _, p := range parts[:len(parts)-1] {
			next, ok := at[p].(map[string]any)
			if !ok {
				next = map[string]any{}
				at[p] = next
			}
			at = next
		}
		at[parts[len(parts)-1]] = val
	}
	return out
}

// print shows objects as YAML documents.
func (a *App) print(objs []*model.Object) error {
	for i, o := range objs {
		if i > 0 {
			fmt.Fprintln(a.Out, "---")
		}
		doc, err := model.Encode(o)
		if err != nil {
			return fmt.Errorf("print %s: %w", o.Key(), err)
		}
		b, err := jsonToYAML(doc)
		if err != nil {
			return err
		}
		if _, err := a.Out.Write(b); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	}
	return nil
}
