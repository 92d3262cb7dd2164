package auth

import (
	"weft/internal/config"
	"weft/internal/mesh/model"
)

// Access checks the static access lists.
type Access struct{ lists config.StaticAccess }

// NewAccess returns the check of the lists.
func NewAccess(lists config.StaticAccess) *Access { return &Access{lists: lists} }

// Read says whether the user may read objects of the kind: secrets only
// administrators, everything else everybody.
func (a *Access) Read(u User, kind *model.Kind) error {
	if !kind.AdminOnly {
		return nil
	}
	return check(u, a.lists.AdminResources, "adminResources", "read objects of type "+kind.Name)
}

// Write says whether the user may create, change or delete objects of the kind.
func (a *Access) Write(u User, kind *model.Kind) error {
	if kind.AdminOnly {
		return check(u, a.lists.AdminResources, "adminResources", "write objects of type "+kind.Name)
	}
	return check(u, a.lists.WriteResources, "writeResources", "write objects of type "+kind.Name)
}

// Actions that are about no object; each is the name of its access list.
const (
	GenerateDPToken      = "generateDpToken"
	GenerateUserToken    = "generateUserToken"
	GenerateZoneToken    = "generateZoneToken"
	ViewConfigDump       = "viewConfigDump"
	ViewStats            = "viewStats"
	ViewClusters         = "viewClusters"
	ControlPlaneMetadata = "controlPlaneMetadata"
)

// Action says whether the user may do something that is about no object. An
// action without a list is allowed to nobody.
func (a *Access) Action(u User, action string) error {
	var list config.AccessList
	what := "do " + action
	switch action {
	case GenerateDPToken:
		list, what = a.lists.GenerateDPToken, "issue dataplane tokens"
	case GenerateUserToken:
		list, what = a.lists.GenerateUserToken, "issue user tokens"
	case GenerateZoneToken:
		list, what = a.lists.GenerateZoneToken, "issue zone tokens"
	case ViewConfigDump:
		list, what = a.lists.ViewConfigDump, "see the configuration of proxies"
	case ViewStats:
		list, what = a.lists.ViewStats, "see the statistics of proxies"
	case ViewClusters:
		list, what = a.lists.ViewClusters, "see the clusters of proxies"
	case ControlPlaneMetadata:
		list, what = a.lists.ControlPlaneMetadata, "see the settings of the control plane"
	}
	return check(u, list, action, what)
}

func check(u User, list config.AccessList, setting, what string) error {
	if u.in(list.Users, list.Groups) {
		return nil
	}
	return &Denied{User: u, What: what, Setting: "access.static." + setting}
}
