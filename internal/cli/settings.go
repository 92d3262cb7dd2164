package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"go.yaml.in/yaml/v3"
)

// settings is the configuration file.
type settings struct {
	Contexts       []cliContext    `yaml:"contexts,omitempty"`
	ControlPlanes  []*controlPlane `yaml:"controlPlanes,omitempty"`
	CurrentContext string          `yaml:"currentContext,omitempty"`
}

type cliContext struct {
	ControlPlane string           `yaml:"controlPlane"`
	Defaults     *contextDefaults `yaml:"defaults,omitempty"`
	Name         string           `yaml:"name"`
}

type contextDefaults struct {
	Mesh string `yaml:"mesh,omitempty"`
}

type controlPlane struct {
	Coordinates coordinates `yaml:"coordinates"`
	Name        string      `yaml:"name"`
}

type coordinates struct {
	APIServer apiServer `yaml:"apiServer"`
}

type apiServer struct {
	AuthConf       map[string]string `yaml:"authConf,omitempty"`
	AuthType       string            `yaml:"authType,omitempty"`
	CACertFile     string            `yaml:"caCertFile,omitempty"`
	ClientCertFile string            `yaml:"clientCertFile,omitempty"`
	ClientKeyFile  string            `yaml:"clientKeyFile,omitempty"`
	Headers        []header          `yaml:"headers,omitempty"`
	SkipVerify     bool              `yaml:"skipVerify,omitempty"`
	URL            string            `yaml:"url"`
}

type header struct {
	Key   string `yaml:"key"`
	Value string `yaml:"value"`
}

// localURL is where a control plane on this host listens by default.
const localURL = "http://localhost:5681"

func defaultSettings() *settings {
	return &settings{
		Contexts:       []cliContext{{ControlPlane: "local", Name: "local"}},
		ControlPlanes:  []*controlPlane{{Name: "local", Coordinates: coordinates{APIServer: apiServer{URL: localURL}}}},
		CurrentContext: "local",
	}
}

func readSettings(path string) (*settings, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	s := new(settings)
	if err := yaml.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("configuration file %q cannot be understood: %w; repair it, or remove it and it is made anew", path, err)
	}
	s.ControlPlanes = slices.DeleteFunc(s.ControlPlanes, func(c *controlPlane) bool { return c == nil })
	return s, nil
}

// writeSettings replaces the file in one step; it holds tokens, so only its
// owner may read it. A link stays a link.
func writeSettings(path string, s *settings) error {
	b, err := encodeYAML(s)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make the folder of the configuration: %w", err)
	}
	if err := replaceFile(path, b, 0o600); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	return nil
}

func (s *settings) context(name string) *cliContext {
	for i := range s.Contexts {
		if s.Contexts[i].Name == name {
			return &s.Contexts[i]
		}
	}
	return nil
}

func (s *settings) controlPlane(name string) *controlPlane {
	i := slices.IndexFunc(s.ControlPlanes, func(c *controlPlane) bool { return c.Name == name })
	if i < 0 {
		return nil
	}
	return s.ControlPlanes[i]
}

// current returns the active control plane.
func (s *settings) current() (*controlPlane, error) {
	if s.CurrentContext == "" {
		return nil, errors.New("no control plane is active: add one with \"kumactl config control-planes add\", or choose one with \"kumactl config control-planes switch\"")
	}
	ctx := s.context(s.CurrentContext)
	if ctx == nil {
		return nil, fmt.Errorf("the active context %q is not in the configuration; choose another with %q", s.CurrentContext, "kumactl config control-planes switch --name=NAME")
	}
	cp := s.controlPlane(ctx.ControlPlane)
	if cp == nil {
		return nil, fmt.Errorf("the active control plane %q is not in the configuration; add it with %q", ctx.ControlPlane, "kumactl config control-planes add")
	}
	return cp, nil
}

// put adds or replaces a control plane with its context.
func (s *settings) put(cp *controlPlane) {
	if i := slices.IndexFunc(s.ControlPlanes, func(c *controlPlane) bool { return c.Name == cp.Name }); i >= 0 {
		s.ControlPlanes[i] = cp
	} else {
		s.ControlPlanes = append(s.ControlPlanes, cp)
	}
	if ctx := s.context(cp.Name); ctx != nil {
		ctx.ControlPlane = cp.Name
	} else {
		s.Contexts = append(s.Contexts, cliContext{Name: cp.Name, ControlPlane: cp.Name})
	}
}

// drop removes a control plane with its contexts; the first that is left
// becomes the active one if it was it.
func (s *settings) drop(name string) {
	s.ControlPlanes = slices.DeleteFunc(s.ControlPlanes, func(c *controlPlane) bool { return c.Name == name })
	s.Contexts = slices.DeleteFunc(s.Contexts, func(c cliContext) bool { return c.ControlPlane == name })
	if s.context(s.CurrentContext) != nil {
		return
	}
	s.CurrentContext = ""
	if len(s.Contexts) > 0 {
		s.CurrentContext = s.Contexts[0].Name
	}
}
