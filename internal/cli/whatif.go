package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"weft/internal/client"
	"weft/internal/config"
	"weft/internal/cp/whatif"
	"weft/internal/mesh/model"
)

// zoneFlags say what the control plane is like of which it is asked what it would
// make of objects.
type zoneFlags struct {
	configFile, zone string
	noInitial        bool
}

func (z *zoneFlags) addTo(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&z.configFile, "cp-config", "", "configuration file of the kuma-cp that is meant; its environment is not read")
	f.StringVar(&z.zone, "zone", "", "name of the zone that is meant, if not that of --cp-config")
	f.BoolVar(&z.noInitial, "no-initial-policies", false, "give meshes no default policies; for objects that were exported from a control plane")
	_ = cmd.MarkFlagFilename("cp-config", "yaml", "yml")
}

// settings returns what kuma-cp would decide by.
func (z *zoneFlags) settings() (whatif.Settings, error) {
	c := config.Default()
	if z.configFile != "" {
		var err error
		if c, _, err = config.Load(z.configFile, nil); err != nil {
			return whatif.Settings{}, err
		}
	}
	return z.settingsOf(c)
}

func (z *zoneFlags) settingsOf(c *config.Config) (whatif.Settings, error) {
	if c.IsGlobal() {
		return whatif.Settings{}, errors.New("a global control plane configures no proxies: use the configuration of the control plane of a zone")
	}
	if z.zone != "" {
		c.Multizone.Zone.Name = z.zone
	}
	s, err := whatif.SettingsOf(c)
	if z.noInitial {
		s.Initial.Kind = func(string) *model.Kind { return nil }
	}
	return s, err
}

// world returns what becomes of the objects of files in a zone of their own. What
// the gate refuses is the error.
func (a *App) world(ctx context.Context, files applyOptions, s whatif.Settings, before *whatif.World) (*whatif.World, error) {
	objs, err := a.collect(ctx, files)
	if err != nil {
		return nil, err
	}
	now := a.Now()
	base, err := s.Base(objs, now)
	if err != nil {
		return nil, err
	}
	return admitted(objs, base, s, before, a)
}

// admitted returns what becomes of objects that are written to a control plane
// with the objects of present.
func admitted(objs, present []*model.Object, s whatif.Settings, before *whatif.World, a *App) (*whatif.World, error) {
	all, problems, err := s.Admit(objs, present, a.Now())
	if err != nil {
		return nil, err
	}
	var wrong []error
	for _, p := range problems {
		wrong = append(wrong, fmt.Errorf("%s: %w", p.Object.Key(), p.Err))
	}
	if len(wrong) > 0 {
		return nil, fmt.Errorf("the control plane would refuse this: %w", errors.Join(wrong...))
	}
	return whatif.New(all, s, a.Now(), before)
}

// fetched returns all objects of the current control plane, with the settings
// that it shows. Secrets are left out: configurations name them only.
func (a *App) fetched(ctx context.Context, z *zoneFlags) ([]*model.Object, whatif.Settings, error) {
	c, err := a.connect(ctx)
	if err != nil {
		return nil, whatif.Settings{}, err
	}
	conf, err := a.settingsShown(ctx, c, z)
	if err != nil {
		return nil, whatif.Settings{}, err
	}
	s, err := z.settingsOf(conf)
	if err != nil {
		return nil, s, err
	}
	known, unknown, err := exported(ctx, c, exportProfiles[2], false)
	if err != nil {
		return nil, s, err
	}
	if len(unknown) > 0 {
		a.warn(fmt.Sprintf("these types of the control plane are not known to this kumactl and left out: %v", unknown))
	}
	var all []*model.Object
	for _, k := range known {
		items, err := c.All(ctx, client.Path(k, "", ""), nil)
		if err != nil {
			return nil, s, fmt.Errorf("list %s: %w", k.DisplayPlural, err)
		}
		objs, err := client.Objects(k, items)
		if err != nil {
			return nil, s, err
		}
		all = append(all, objs...)
	}
	return inOrderOfCreation(all), s, nil
}

// settingsShown returns the settings of a control plane: those of the file that is
// given for it, else those that it shows.
func (a *App) settingsShown(ctx context.Context, c *client.Client, z *zoneFlags) (*config.Config, error) {
	if z.configFile != "" {
		conf, _, err := config.Load(z.configFile, nil)
		return conf, err
	}
	doc, err := c.Get(ctx, "/config", nil)
	if err == nil {
		var conf *config.Config
		if conf, err = config.ReadShown(doc); err == nil {
			return conf, nil
		}
	}
	a.warn(fmt.Sprintf("the settings of the control plane cannot be read (%v): those that hold by default are used; --cp-config names others", err))
	return config.Default(), nil
}

// inOrderOfCreation sorts objects, of equal age by name.
func inOrderOfCreation(objs []*model.Object) []*model.Object {
	slices.SortFunc(objs, func(x, y *model.Object) int {
		return cmp.Or(x.Meta.Created.Compare(y.Meta.Created), x.Key().Compare(y.Key()))
	})
	return objs
}
