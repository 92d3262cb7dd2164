package config

// Access says who may do what over the API.
type Access struct {
	// Only `static`: the lists below.
	Type   string       `json:"type" env:"TYPE"`
	Static StaticAccess `json:"static" env:"STATIC"`
}

// StaticAccess lists who may do what: a caller may if the name or one of the
// groups is listed. Everybody with a proof of identity has the group
// mesh-system:authenticated, everybody else mesh-system:unauthenticated.
type StaticAccess struct {
	// Who may read and write Secrets and GlobalSecrets.
	AdminResources AccessList `json:"adminResources" env:"ADMIN_RESOURCES"`
	// Who may create, change and delete objects other than secrets. With the group mesh-system:unauthenticated everybody may, as in 2.10.
	WriteResources AccessList `json:"writeResources" env:"WRITE_RESOURCES"`
	// Who may issue dataplane tokens.
	GenerateDPToken AccessList `json:"generateDpToken" env:"GENERATE_DP_TOKEN"`
	// Who may issue user tokens.
	GenerateUserToken AccessList `json:"generateUserToken" env:"GENERATE_USER_TOKEN"`
	// Who may issue zone tokens.
	GenerateZoneToken AccessList `json:"generateZoneToken" env:"GENERATE_ZONE_TOKEN"`
	// Who may see Envoy's configuration.
	ViewConfigDump AccessList `json:"viewConfigDump" env:"GET_CONFIG_DUMP"`
	// Who may see Envoy's statistics.
	ViewStats AccessList `json:"viewStats" env:"VIEW_STATS"`
	// Who may see Envoy's clusters.
	ViewClusters AccessList `json:"viewClusters" env:"VIEW_CLUSTERS"`
	// Who may see the settings of the control plane.
	ControlPlaneMetadata AccessList `json:"controlPlaneMetadata" env:"CONTROL_PLANE_METADATA"`
}

// AccessList names who may do something.
type AccessList struct {
	// Names of users.
	Users []string `json:"users" env:"USERS"`
	// Names of groups.
	Groups []string `json:"groups" env:"GROUPS"`
}

func defaultAccess() Access {
	const admin = "mesh-system:admin"
	admins := func() AccessList { return AccessList{Users: []string{admin}, Groups: []string{admin}} }
	everybody := func() AccessList {
		return AccessList{Groups: []string{"mesh-system:unauthenticated", "mesh-system:authenticated"}}
	}
	return Access{
		Type: "static",
		Static: StaticAccess{
			AdminResources:       admins(),
			WriteResources:       admins(), // deliberately narrower than 2.10, where everybody may write
			GenerateDPToken:      admins(),
			GenerateUserToken:    admins(),
			GenerateZoneToken:    admins(),
			ViewConfigDump:       everybody(),
			ViewStats:            everybody(),
			ViewClusters:         everybody(),
			ControlPlaneMetadata: everybody(),
		},
	}
}
