// Package auth decides who somebody is and what they may do: it issues and
// verifies tokens of proxies, zones and users, keeps their signing keys and
// revocation lists among the secrets of the store, authenticates callers of the
// API and checks the access lists.
//
// Everything is safe for concurrent use. Keys and lists are read from the store
// whenever they are needed, so a rotated key or a revoked token counts at once;
// only the parsing of keys is remembered, by content. While the store cannot be
// reached, what was read last is used for a while.
package auth

import (
	"net/http"
	"slices"
	"strings"
)

// User is who makes a request. Its JSON form is the answer of /who-am-i.
type User struct {
	Name   string   `json:"name"`
	Groups []string `json:"groups"`
}

// Names of built-in users and groups.
const (
	AdminName            = "mesh-system:admin"
	AnonymousName        = "mesh-system:anonymous"
	ControlPlaneName     = "mesh-system:control-plane"
	AdminGroup           = "mesh-system:admin"
	AuthenticatedGroup   = "mesh-system:authenticated"
	UnauthenticatedGroup = "mesh-system:unauthenticated"
)

// Admin is the user of callers that are administrators by where they come from.
func Admin() User {
	return User{Name: AdminName, Groups: []string{AdminGroup, AuthenticatedGroup}}
}

// Anonymous is the user of callers without any proof.
func Anonymous() User {
	return User{Name: AnonymousName, Groups: []string{UnauthenticatedGroup}}
}

// String returns "name/group,group".
func (u User) String() string { return u.Name + "/" + strings.Join(u.Groups, ",") }

// in tells whether one of the lists has the user.
func (u User) in(users, groups []string) bool {
	return slices.Contains(users, u.Name) || slices.ContainsFunc(u.Groups, func(g string) bool { return slices.Contains(groups, g) })
}

// Denied is the error for what a user may not do.
type Denied struct {
	User User
	// What completes "may not": "read objects of type Secret".
	What string
	// Setting is the access list that allows it.
	Setting string
}

// Error says who may not do what, and which list would allow it.
func (d *Denied) Error() string {
	who := "user " + d.User.String() + " may not " + d.What
	if slices.Contains(d.User.Groups, UnauthenticatedGroup) {
		return who + "; send a user token, see kumactl generate user-token (on the machine of the control plane kumactl finds the administrator's by itself)"
	}
	return who + "; it is allowed to those in " + d.Setting
}

// HTTPStatus is how the API answers.
func (d *Denied) HTTPStatus() (status int, title, detail string) {
	return http.StatusForbidden, "Access Denied", d.Error()
}
