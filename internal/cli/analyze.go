package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"weft/internal/client"
	"weft/internal/cp/findings"
	"weft/internal/cp/whatif"
	"weft/internal/mesh/catalog"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/manifest"
	"weft/internal/mesh/model"
)

// analyzeOptions are the flags of "analyze".
type analyzeOptions struct {
	applyOptions
	zoneFlags
	mesh   string
	failOn string
	out    format
}

// asGitHub prints annotations for GitHub's workflows.
const asGitHub = "github"

// placed is a finding with the place in a file, if it is of one.
type placed struct {
	findings.Finding
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
}

func (a *App) analyzeCommand() *cobra.Command {
	var o analyzeOptions
	cmd := &cobra.Command{
		Use: "analyze", Short: "Find what is wrong with objects, and what is likely not meant", Args: cobra.NoArgs,
		Long: `Find what a control plane would refuse, and what it would accept though it is likely not meant: policies
that select nothing or have no effect, names of what does not exist. With -f files are looked at, without
a control plane; else the objects of the current control plane.

The exit code is 0 if there is nothing as bad as --fail-on says, 1 if there is, 2 if it cannot be told.`,
		Example: `  kumactl analyze -f mesh/
  kumactl analyze -f mesh/ --fail-on=warning -o github
  kumactl analyze --mesh shop                             # the objects of the control plane`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := a.analyze(cmd.Context(), &o)
			var code *exitCode
			if err != nil && !errors.As(err, &code) {
				return &exitCode{2, err}
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&o.files, "file", "f", nil, "path to a file or folder, URL, or `-` for standard input; may be repeated")
	f.StringToStringVarP(&o.vars, "var", "v", nil, "variable to replace in the files, name=value; {{ name }} stands for it")
	f.StringVarP(&o.mesh, "mesh", "m", "", "only this mesh")
	f.StringVar(&o.failOn, "fail-on", string(findings.Error), "from which severity on the exit code is 1: error, warning or info")
	f.StringVarP((*string)(&o.out), "output", "o", string(asTable), "output format: table, yaml, json or github (annotations of a workflow)")
	o.addTo(cmd)
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{string(asTable), string(asYAML), string(asJSON), asGitHub}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("fail-on", cobra.FixedCompletions([]string{"error", "warning", "info"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("mesh", a.completeMeshes)
	_ = cmd.MarkFlagFilename("file", "yaml", "yml", "json")
	return cmd
}

// exitCode is an error with the exit code that it means. Without an error nothing
// has to be said.
type exitCode struct {
	code int
	err  error
}

// Error implements error.
func (e *exitCode) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

// Unwrap returns what happened.
func (e *exitCode) Unwrap() error { return e.err }

func (a *App) analyze(ctx context.Context, o *analyzeOptions) error {
	limit := findings.Severity(o.failOn)
	switch limit {
	case findings.Error, findings.Warning, findings.Info:
	default:
		return fmt.Errorf("severity %q is not known: use error, warning or info", o.failOn)
	}
	if o.out != asGitHub {
		if err := o.out.check(); err != nil {
			return err
		}
	}
	look := a.analyzeFiles
	if len(o.files) == 0 {
		look = a.analyzeControlPlane
	}
	list, err := look(ctx, o)
	if err != nil {
		return err
	}
	if err := a.printFindings(list, o.out); err != nil {
		return err
	}
	if slices.ContainsFunc(list, func(p placed) bool { return p.Severity.AtLeast(limit) }) {
		return &exitCode{code: 1}
	}
	return nil
}

// analyzeControlPlane asks the current control plane.
func (a *App) analyzeControlPlane(ctx context.Context, o *analyzeOptions) ([]placed, error) {
	c, err := a.connect(ctx)
	if err != nil {
		return nil, err
	}
	meshes := []string{o.mesh}
	if o.mesh == "" {
		items, err := c.All(ctx, client.Path(kinds.Mesh, "", ""), nil)
		if err != nil {
			return nil, fmt.Errorf("list meshes: %w", err)
		}
		objs, err := client.Objects(kinds.Mesh, items)
		if err != nil {
			return nil, err
		}
		meshes = nil
		for _, m := range objs {
			meshes = append(meshes, m.Meta.Name)
		}
	}
	list := []placed{}
	for _, m := range meshes {
		doc, err := c.Get(ctx, client.Path(kinds.Mesh, "", m)+"/_findings", nil)
		if err != nil {
			return nil, fmt.Errorf("findings of mesh %q: %w", m, err)
		}
		var answer struct {
			Items []findings.Finding `json:"items"`
		}
		if err := json.Unmarshal(doc, &answer); err != nil {
			return nil, fmt.Errorf("understand the control plane's answer: %w", err)
		}
		for _, f := range answer.Items {
			list = append(list, placed{Finding: f})
		}
	}
	return list, nil
}

// analyzeFiles looks at files as all there is in a zone.
func (a *App) analyzeFiles(ctx context.Context, o *analyzeOptions) ([]placed, error) {
	s, err := o.settings()
	if err != nil {
		return nil, err
	}
	r := &reader{app: a, vars: o.vars, at: map[model.Key]place{}, of: map[*model.Object]place{}}
	for _, file := range o.files {
		sources, err := a.read(ctx, file)
		if err != nil {
			return nil, err
		}
		for _, src := range sources {
			r.source(src)
		}
	}
	if err := r.world(s); err != nil {
		return nil, err
	}
	list := r.list
	if o.mesh != "" {
		list = slices.DeleteFunc(list, func(p placed) bool { return cmp.Or(p.Mesh, p.Name) != o.mesh })
	}
	slices.SortStableFunc(list, func(x, y placed) int { return cmp.Or(cmp.Compare(x.File, y.File), cmp.Compare(x.Line, y.Line)) })
	return list, nil
}

// place is a document in a file.
type place struct {
	file string
	doc  *manifest.Document
}

// reader collects the objects of files with what is wrong with them.
type reader struct {
	app     *App
	vars    map[string]string
	objects []*model.Object
	at      map[model.Key]place
	of      map[*model.Object]place
	list    []placed
}

func (r *reader) source(s source) {
	text := s.text
	if len(r.vars) > 0 {
		rendered, notes, err := replaceVariables(string(text), r.vars)
		if err != nil {
			r.add(s.name, model.Head{}, findings.Error, "template", &manifest.Error{Message: err.Error()})
			return
		}
		for _, n := range notes {
			r.add(s.name, model.Head{}, findings.Warning, "template", &manifest.Error{Message: n})
		}
		text = []byte(rendered)
	}
	docs, err := manifest.Parse(text)
	var e *manifest.Error
	if errors.As(err, &e) {
		r.add(s.name, model.Head{}, findings.Error, "syntax", e)
		return
	}
	for i := range docs {
		r.document(s.name, &docs[i])
	}
}

func (r *reader) document(file string, d *manifest.Document) {
	o, err := d.Object(catalog.Find)
	if err != nil {
		for _, e := range located(d, err) {
			r.add(file, d.Head, findings.Error, "invalid", e)
		}
		return
	}
	for _, u := range d.Unknown(o.Kind) {
		u.Message += "; it is ignored"
		r.add(file, d.Head, findings.Warning, "unknown-field", u)
	}
	if first, twice := r.at[o.Key()]; twice {
		r.add(file, d.Head, findings.Warning, "duplicate", &manifest.Error{
			Line: d.Line, Message: fmt.Sprintf("the same object stands in %s, line %d, too; the later one counts", first.file, first.doc.Line),
		})
	}
	r.at[o.Key()], r.of[o] = place{file, d}, place{file, d}
	r.objects = append(r.objects, o)
}

func (r *reader) add(file string, h model.Head, s findings.Severity, rule string, e *manifest.Error) {
	r.list = append(r.list, placed{File: file, Line: e.Line, Finding: findings.Finding{
		Severity: s, Rule: rule, Kind: h.Type, Mesh: h.Mesh, Name: h.Name, Field: e.Field, Message: e.Message,
	}})
}

// world passes the objects through the gate and looks at what becomes of them.
func (r *reader) world(s whatif.Settings) error {
	now := r.app.Now()
	base, err := s.Base(r.objects, now)
	if err != nil {
		return err
	}
	all, problems, err := s.Admit(r.objects, base, now)
	if err != nil {
		return err
	}
	refused := map[*model.Object]bool{}
	for _, p := range problems {
		refused[p.Object] = true
		at := r.of[p.Object]
		for _, e := range located(at.doc, p.Err) {
			r.add(at.file, headOf(p.Object), findings.Error, "invalid", e)
		}
	}
	for _, o := range r.objects {
		if o.Kind.Warn == nil || refused[o] {
			continue
		}
		for _, text := range o.Kind.Warn(o) {
			at := r.of[o]
			r.add(at.file, headOf(o), findings.Info, "advice", &manifest.Error{Line: at.doc.Line, Message: text})
		}
	}
	w, err := whatif.New(all, s, now, nil)
	if err != nil {
		return err
	}
	for _, row := range w.Tables().Table(kinds.Mesh, "").Rows() {
		mesh := &findings.World{Mesh: row.Meta.Name, Tables: w.Tables(), View: w.View(row.Meta.Name), Policies: catalog.Policies}
		for _, f := range mesh.All() {
			k := catalog.ByName(f.Kind).Key(f.Mesh, f.Name)
			at, is := r.at[k]
			switch {
			case is:
				r.list = append(r.list, placed{f, at.file, at.doc.LineOf(f.Field)})
			case f.Kind == kinds.MeshService.Name: // made from Dataplanes
				r.list = append(r.list, placed{Finding: f})
			}
		}
	}
	return nil
}

func headOf(o *model.Object) model.Head {
	return model.Head{Type: o.Kind.Name, Mesh: o.Meta.Mesh, Name: o.Meta.Name}
}

// object names the object of a finding.
func (p *placed) object() string {
	switch {
	case p.Kind == "":
		return "-"
	case p.Mesh == "":
		return p.Kind + " " + p.Name
	}
	return p.Kind + " " + p.Mesh + "/" + p.Name
}

func (p *placed) where() string {
	switch {
	case p.File == "":
		return "-"
	case p.Line == 0:
		return p.File
	}
	return p.File + ":" + strconv.Itoa(p.Line)
}

func (a *App) printFindings(list []placed, out format) error {
	if out == asTable {
		a.findingsTable(list)
		return nil
	}
	if out == asGitHub {
		for i := range list {
			fmt.Fprintln(a.Out, annotation(&list[i]))
		}
		return nil
	}
	if list == nil {
		list = []placed{}
	}
	doc, err := json.Marshal(struct {
		Total int      `json:"total"`
		Items []placed `json:"items"`
	}{len(list), list})
	if err != nil {
		return fmt.Errorf("print findings: %w", err)
	}
	return a.document(doc, out)
}

func (a *App) findingsTable(list []placed) {
	if len(list) == 0 {
		fmt.Fprintln(a.Out, "Nothing found.")
		return
	}
	files := slices.ContainsFunc(list, func(p placed) bool { return p.File != "" })
	head := []string{"SEVERITY", "OBJECT", "FINDING"}
	if files {
		head = slices.Insert(head, 1, "WHERE")
	}
	rows := [][]string{head}
	count := map[findings.Severity]int{}
	for i := range list {
		p := &list[i]
		count[p.Severity]++
		r := []string{string(p.Severity), p.object(), p.Text()}
		if files {
			r = slices.Insert(r, 1, p.where())
		}
		rows = append(rows, r)
	}
	table(a.Out, rows)
	fmt.Fprintf(a.Out, "\nErrors: %d, warnings: %d, infos: %d\n", count[findings.Error], count[findings.Warning], count[findings.Info])
}

// annotation is a line that GitHub shows at the place in the file.
func annotation(p *placed) string {
	command := map[findings.Severity]string{findings.Error: "error", findings.Warning: "warning", findings.Info: "notice"}[p.Severity]
	text := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	property := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	var props []string
	if p.File != "" {
		props = append(props, "file="+property.Replace(p.File))
	}
	if p.Line > 0 {
		props = append(props, "line="+strconv.Itoa(p.Line))
	}
	props = append(props, "title="+property.Replace(p.Rule))
	return fmt.Sprintf("::%s %s::%s", command, strings.Join(props, ","), text.Replace(clean(p.object()+": "+p.Text())))
}

// warnOf warns of the findings that a page tells. Control planes of 2.10 have no
// such page; then nothing is told.
func (a *App) warnOf(ctx context.Context, path string) {
	c, err := a.client()
	if err != nil {
		return
	}
	doc, err := c.Get(ctx, path, nil)
	if err != nil {
		a.log().Debug("the control plane tells no findings", "error", err)
		return
	}
	var answer struct {
		Items []findings.Finding `json:"items"`
	}
	if err := json.Unmarshal(doc, &answer); err != nil {
		return
	}
	for i := range answer.Items {
		p := placed{Finding: answer.Items[i]}
		if p.Severity.AtLeast(findings.Warning) {
			a.warn(p.object() + ": " + p.Text())
		}
	}
}
