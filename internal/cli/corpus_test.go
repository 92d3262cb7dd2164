package cli

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"weft/internal/testkit/corpus"
	"weft/internal/testkit/envoytest"
)

// recorded is a case of the corpus.
type recorded struct {
	name         string
	dir          string
	Title        string
	Topic        string
	Fixture      string
	Fresh        bool
	CP           string            `yaml:"cp"`
	NoConfigFile bool              `yaml:"no_config_file"`
	RecordConfig any               `yaml:"record_config"`
	RecordFiles  bool              `yaml:"record_files"`
	KeyFiles     map[string]string `yaml:"key_files"`
	ClientEnv    map[string]string `yaml:"client_env"`
	IgnoreStderr bool              `yaml:"ignore_stderr"`
	Kind         string
	After        []string
}

// differences is testdata/differences.yaml: what is deliberately not as 2.10
// prints it, and what is not played.
type differences struct {
	Differences []allowed
	Skipped     []caseNote
}

// allowed is a deliberate difference of one output: of all of it, or of lines
// (without), YAML documents (documents) or the paths of JSON (paths) that match.
type allowed struct{ Case, File, Without, Documents, Paths, Reason string }

func (a allowed) whole() bool { return a.Without == "" && a.Documents == "" && a.Paths == "" }

type caseNote struct{ Case, Reason string }

// noted returns what is said about a case.
func noted(notes []caseNote, name string) string {
	for _, n := range notes {
		if ok, _ := path.Match(n.Case, name); ok {
			return n.Reason
		}
	}
	return ""
}

// deliberate returns the entries that together explain a difference, none if
// they do not.
func (d *differences) deliberate(name string, diff difference) []int {
	var all []int
	for i, x := range d.Differences {
		inCase, _ := path.Match(x.Case, name)
		inFile, _ := path.Match(x.File, diff.file)
		if !inCase || !inFile {
			continue
		}
		if x.whole() {
			return []int{i}
		}
		all = append(all, i)
	}
	want, got := diff.want, diff.got
	if diff.file == "stderr.txt" {
		want, got = reduce(want.(string)), reduce(got.(string))
	} else if w, g := jsonOf(want), jsonOf(got); w != nil && g != nil {
		want, got = w, g
	}
	var used []int
	for _, i := range all {
		w, g := d.Differences[i].strip(want), d.Differences[i].strip(got)
		if !reflect.DeepEqual(w, want) || !reflect.DeepEqual(g, got) {
			used = append(used, i)
		}
		want, got = w, g
	}
	if len(used) > 0 && compareOutput(diff.file, diff.kind, want, got) == "" {
		return used
	}
	return nil
}

// strip takes away what may differ.
func (a allowed) strip(v any) any {
	if text, ok := v.(string); ok {
		text = without(text, "---\n", a.Documents)
		return strings.TrimSpace(without(text, "\n", a.Without))
	}
	if lines, ok := v.([]any); ok && a.Without != "" {
		match := regexp.MustCompile(a.Without)
		return slices.DeleteFunc(slices.Clone(lines), func(l any) bool { return match.MatchString(fmt.Sprint(l)) })
	}
	if a.Paths == "" {
		return v
	}
	return withoutPaths(v, "", regexp.MustCompile(a.Paths))
}

// without leaves out the parts of a text, cut at sep, that match a pattern.
func without(text, sep, pattern string) string {
	if pattern == "" {
		return text
	}
	match := regexp.MustCompile(pattern)
	parts := slices.DeleteFunc(strings.Split(text, sep), match.MatchString)
	return strings.Join(parts, sep)
}

// withoutPaths leaves out what is at paths of a tree that match; in paths, items
// of lists are numbers.
func withoutPaths(v any, at string, match *regexp.Regexp) any {
	switch x := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range x {
			if sub := at + "/" + k; !match.MatchString(sub) {
				out[k] = withoutPaths(e, sub, match)
			}
		}
		return out
	case []any:
		out := []any{}
		for i, e := range x {
			if sub := at + "/" + strconv.Itoa(i); !match.MatchString(sub) {
				out = append(out, withoutPaths(e, sub, match))
			}
		}
		return out
	}
	return v
}

// TestCorpus plays what was recorded of 2.10's kumactl.
func TestCorpus(t *testing.T) {
	root := corpus.Root(t, "kumactl")
	var known differences
	corpus.ReadYAML(t, "testdata/differences.yaml", &known)
	for _, x := range known.Differences {
		if x.Reason == "" {
			t.Errorf("difference %s %s has no reason", x.Case, x.File)
		}
	}
	groups := map[string][]*recorded{}
	for _, name := range corpus.Cases(t, root) {
		c := &recorded{name: name, dir: filepath.Join(root, name)}
		corpus.ReadYAML(t, filepath.Join(c.dir, "case.yaml"), c)
		if why := noted(known.Skipped, name); why != "" {
			t.Logf("NOT PLAYED %s: %s", name, why)
			continue
		}
		group := c.Fixture
		if c.Fresh {
			group += "/" + name
		}
		groups[group] = append(groups[group], c)
	}
	used := make([]bool, len(known.Differences))
	for _, group := range slices.Sorted(maps.Keys(groups)) {
		t.Run(strings.ReplaceAll("fixture "+group, "/", "_"), func(t *testing.T) {
			var cp *testCP
			if f := groups[group][0].Fixture; f != "" {
				cp = startFixture(t, filepath.Join(root, "fixtures", f))
			}
			for _, c := range groups[group] {
				t.Run(c.name, func(t *testing.T) { c.play(t, cp, &known, used) })
			}
		})
	}
	if !t.Failed() && t.Name() == "TestCorpus" {
		for i, u := range used {
			if !u {
				t.Errorf("difference not seen: %s %s: remove it", known.Differences[i].Case, known.Differences[i].File)
			}
		}
	}
}

// startFixture runs a control plane with the objects of a fixture.
func startFixture(t *testing.T, dir string) *testCP {
	t.Helper()
	var fixture struct {
		Env     map[string]string
		Proxies []struct {
			File      string
			ProxyType string `yaml:"proxyType"`
		}
		Ready []struct {
			Path  string
			Until []string
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "fixture.yaml")); err == nil {
		corpus.ReadYAML(t, filepath.Join(dir, "fixture.yaml"), &fixture)
	}
	settings := []string{
		// As 2.10 behaves: who is on this host may do everything.
		"KUMA_API_SERVER_AUTHN_LOCALHOST_IS_ADMIN=true",
		"KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE=none", "KUMA_DP_SERVER_AUTH_TYPE=none",
		// The conditions of fixtures wait for counters in insights.
		"KUMA_XDS_SERVER_DATAPLANE_STATUS_FLUSH_INTERVAL=100ms",
	}
	for k, v := range fixture.Env {
		settings = append(settings, k+"="+v)
	}
	var dp, envoy string
	if len(fixture.Proxies) > 0 {
		envoy = envoytest.Binary(t)
		dp = buildDP(t)
	}
	cp := startCP(t, settings...)
	dir = cp.moveFixture(t, dir)
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if filepath.Base(f) != "fixture.yaml" {
			cp.put(t, f)
		}
	}
	for _, p := range fixture.Proxies {
		cp.startProxy(t, dp, envoy, p.ProxyType, filepath.Join(dir, p.File))
	}
	for _, r := range fixture.Ready {
		if strings.HasPrefix(r.Path, "/zone-ingresses") { // they get no configuration yet that they could accept
			r.Until = slices.DeleteFunc(r.Until, func(p string) bool { return strings.Contains(p, "responsesAcknowledged") })
		}
		if !cp.await(t, r.Path, time.Minute, r.Until...) {
			t.Fatal("the fixture never became what the corpus wants")
		}
	}
	return cp
}

// fixturePort are the ports of proxies in fixtures.
var fixturePort = regexp.MustCompile(`\b235\d\d\b`)

// moveFixture copies a fixture and gives it ports of its own, since other tests on
// this host may use the recorded ones.
func (c *testCP) moveFixture(t *testing.T, dir string) string {
	t.Helper()
	c.moved = map[string]string{}
	ours := map[string]string{}
	out := t.TempDir()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) { // one without objects need not be there
		t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		moved := fixturePort.ReplaceAllStringFunc(string(text), func(port string) string {
			if ours[port] == "" {
				ours[port] = freePorts(t, 1)[0]
				c.moved[ours[port]] = port
			}
			return ours[port]
		})
		if err := os.WriteFile(filepath.Join(out, e.Name()), []byte(moved), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// play runs one case and compares.
func (c *recorded) play(t *testing.T, cp *testCP, known *differences, used []bool) {
	if cp == nil { // nobody listens where the configuration points to
		cp = &testCP{ports: freePorts(t, 2)}
		cp.url, cp.secure = "http://localhost:"+cp.ports[0], "https://localhost:"+cp.ports[1]
	}
	base := t.TempDir()
	k := &kumactl{home: filepath.Join(base, "home"), dir: filepath.Join(base, "files"), env: c.ClientEnv}
	c.prepare(t, k, cp)
	r := k.run(t, c.args(t, k, cp)...)
	p := places{ports: cp.ports, dirs: []string{k.dir, k.home, base}, proxies: cp.proxies, moved: cp.moved, host: hostname(t)}
	got := c.outputs(t, k, cp, p, r)
	for _, d := range c.compare(t, got) {
		reasons := known.deliberate(c.name, d)
		if reasons == nil {
			t.Errorf("%s differs:\n%s", d.file, d.text)
			continue
		}
		for _, i := range reasons {
			used[i] = true
			t.Logf("deliberate: %s: %s", d.file, known.Differences[i].Reason)
		}
	}
	if t.Failed() {
		t.Logf("kumactl %q\ncode %d\nstdout:\n%.600s\nstderr:\n%s", c.args(t, k, cp), r.code, p.normal(r.out), p.normal(r.err))
	}
}

// prepare makes the folders and files of the run.
func (c *recorded) prepare(t *testing.T, k *kumactl, cp *testCP) {
	t.Helper()
	for _, d := range []string{k.home, k.dir} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Join(c.dir, "files")); err == nil {
		if err := os.CopyFS(k.dir, os.DirFS(filepath.Join(c.dir, "files"))); err != nil {
			t.Fatal(err)
		}
	}
	if c.CP == "" {
		c.CP = cp.url
	}
	if text, err := os.ReadFile(filepath.Join(c.dir, "config.yaml")); err == nil {
		k.configure(t, strings.NewReplacer("<cp>", c.CP, "<port>", cp.ports[0]).Replace(string(text)))
	} else if !c.NoConfigFile {
		k.configure(t, fmt.Sprintf(oneControlPlane, c.CP))
	}
	for file := range c.KeyFiles {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
		if err := os.WriteFile(filepath.Join(k.dir, file), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if stdin, err := os.ReadFile(filepath.Join(c.dir, "stdin.txt")); err == nil {
		k.stdin = string(stdin)
	}
}

func (c *recorded) args(t *testing.T, k *kumactl, cp *testCP) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(c.dir, "cmd.txt"))
	if err != nil {
		t.Fatal(err)
	}
	args := strings.Split(string(text), "\n")
	if args[len(args)-1] == "" {
		args = args[:len(args)-1]
	}
	place := strings.NewReplacer("<cp>", cp.url, "<cp-https>", cp.secure, "<dir>", k.dir, "<home>", k.home)
	for i := range args {
		args[i] = place.Replace(args[i])
	}
	return args
}

// outputs collects what came out, by the names of the recorded files. Values are
// strings or trees.
func (c *recorded) outputs(t *testing.T, k *kumactl, cp *testCP, p places, r result) map[string]any {
	t.Helper()
	out := map[string]any{"code.txt": fmt.Sprintf("%d\n", r.code)}
	switch {
	case c.Kind == "jwt" && strings.HasPrefix(r.out, "eyJ"):
		out["stdout.json"] = jwtTree(t, r.out)
	case c.Kind == "flag-table":
		out["stdout.json"] = flagTable(r.out)
	case c.Kind == "existence":
		out["stdout.json"] = map[string]any{"non_empty": strings.TrimSpace(r.out) != ""}
	case c.Kind == "envoy-names":
		out["stdout.json"] = p.envoyNames(r.out)
	case c.Kind == "config-dump" && strings.Contains(r.out, "{"):
		out["stdout.json"] = configDump(t, r.out)
	case c.Kind == "loose-table":
		out["stdout.txt"] = looseTable(p.normal(r.out))
	case r.out != "":
		out["stdout.txt"] = p.normal(r.out)
	}
	if r.err != "" && !c.IgnoreStderr {
		out["stderr.txt"] = p.normal(r.err)
	}
	if c.RecordConfig != nil {
		file := filepath.Join(k.home, ".kumactl", "config")
		if name, ok := c.RecordConfig.(string); ok {
			file = filepath.Join(k.home, name)
		}
		out["config-after.yaml"] = ""
		if text, err := os.ReadFile(file); err == nil {
			out["config-after.yaml"] = p.normal(string(text))
			st, err := os.Stat(file)
			if err != nil {
				t.Fatal(err)
			}
			out["config-after-mode.txt"] = fmt.Sprintf("%o\n", st.Mode().Perm())
		}
	}
	for i, page := range c.After {
		status, body := cp.ask(t, "GET", page, nil)
		var tree any
		if json.Unmarshal(body, &tree) != nil {
			tree = string(body)
		}
		text, err := json.Marshal(map[string]any{"path": page, "status": status, "body": tree})
		if err == nil {
			err = json.Unmarshal([]byte(p.normal(string(text))), &tree)
		}
		if err != nil {
			t.Fatal(err)
		}
		out[fmt.Sprintf("after-%02d.json", i+1)] = tree
	}
	if c.RecordFiles {
		out["files-after.json"] = filesTree(t, k.dir)
	}
	return out
}

// difference is an output that is not as recorded.
type difference struct {
	file, kind, text string
	want, got        any
}

var outputFile = regexp.MustCompile(`^(stdout|stderr|code|after-|config-after|files-after)`)

// compare returns the files that are not as recorded.
func (c *recorded) compare(t *testing.T, got map[string]any) []difference {
	t.Helper()
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, e := range entries {
		if outputFile.MatchString(e.Name()) {
			names[e.Name()] = true
		}
	}
	for name := range got {
		names[name] = true
	}
	var out []difference
	for _, name := range slices.Sorted(maps.Keys(names)) {
		var want any
		text, err := os.ReadFile(filepath.Join(c.dir, name))
		switch {
		case err != nil:
			want = ""
		case strings.HasSuffix(name, ".json"):
			want = corpus.ReadJSON(t, filepath.Join(c.dir, name))
		default:
			want = string(text)
		}
		g := got[name]
		if g == nil {
			g = ""
		}
		if d := compareOutput(name, c.Kind, want, g); d != "" {
			out = append(out, difference{name, c.Kind, d, want, g})
		}
	}
	return out
}

func compareOutput(name, kind string, want, got any) string {
	w, wantText := want.(string)
	g, gotText := got.(string)
	switch {
	case wantText && gotText && name == "stderr.txt":
		if w, g := reduce(w), reduce(g); w != g {
			return lineDiff(w, g)
		}
		return ""
	case wantText && gotText:
		if w, g := jsonOf(w), jsonOf(g); w != nil && g != nil { // the order of members says nothing
			return compareOutput(name, kind, w, g)
		}
		if w, g := meshAges(w), meshAges(g); w != g {
			return lineDiff(w, g)
		}
		return ""
	case kind == "envoy-names": // more may come
		have := map[any]bool{}
		for _, x := range got.([]any) {
			have[x] = true
		}
		var b strings.Builder
		for _, x := range want.([]any) {
			if !have[x] {
				fmt.Fprintf(&b, "-%v\n", x)
			}
		}
		return b.String()
	}
	var b strings.Builder
	for _, d := range corpus.Compare("", want, got) {
		fmt.Fprintf(&b, "%s: want %s, got %s\n", d.Path, d.Want, d.Got)
	}
	return b.String()
}

// jsonOf returns the tree of a text that is a JSON object or list, or nil.
func jsonOf(v any) any {
	s, _ := v.(string)
	var tree any
	if err := json.Unmarshal([]byte(s), &tree); err != nil {
		return nil
	}
	switch tree.(type) {
	case map[string]any, []any:
		return tree
	}
	return nil
}

// meshAges replaces the ages of meshes, which the recorder left in since their
// heading is not all capitals.
func meshAges(s string) string {
	if !strings.HasPrefix(s, "NAME") || !strings.Contains(s, "mTLS") {
		return s
	}
	return regexp.MustCompile(`(?m)\d+[smhdy]$`).ReplaceAllString(s, "<age>")
}

// reduce leaves of standard error what is no wording: which kinds of messages
// came in which order.
func reduce(s string) string {
	var out []string
	for line := range strings.SplitSeq(s, "\n") {
		for _, mark := range []string{"Error:", "WARNING:", "Warning:", "* ", "Unable to connect"} {
			if !strings.HasPrefix(line, mark) {
				continue
			}
			if mark == "* " {
				field, _, _ := strings.Cut(line, ":")
				mark = field
			}
			out = append(out, mark)
		}
	}
	return strings.Join(out, "\n")
}

// lineDiff shows lines that only one of two texts has, or that stand in another
// order.
func lineDiff(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	count := map[string]int{}
	for _, l := range w {
		count[l]++
	}
	for _, l := range g {
		count[l]--
	}
	var b strings.Builder
	for _, l := range w {
		if count[l] > 0 {
			count[l]--
			fmt.Fprintf(&b, "  -%s\n", l)
		}
	}
	for _, l := range g {
		if count[l] < 0 {
			count[l]++
			fmt.Fprintf(&b, "  +%s\n", l)
		}
	}
	for i := 0; b.Len() == 0; i++ { // the same lines: show where the order begins to differ
		if w[i] != g[i] {
			fmt.Fprintf(&b, "line %d\n  -%s\n  +%s\n", i+1, w[i], g[i])
		}
	}
	const most = 4000
	if b.Len() > most {
		return b.String()[:most] + "…"
	}
	return b.String()
}
