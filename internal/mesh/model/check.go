package model

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

const (
	maxName      = 253
	maxLabelPart = 63
)

var (
	subdomain  = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
	meshRef    = regexp.MustCompile(`^[0-9a-z\-_.]*$`)
	labelName  = regexp.MustCompile(`^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$`)
	labelValue = regexp.MustCompile(`^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$`)
)

// CheckName adds what is wrong with the name of an object: it must be a lower
// case subdomain as of RFC 1123.
func CheckName(name string, v *Violations) {
	switch {
	case name == "":
		v.Add("must not be empty")
	case len(name) > maxName:
		v.Add("must be at most %d characters long, not %d", maxName, len(name))
	case !subdomain.MatchString(name):
		v.Add("%q is no possible name: use lower case letters, digits, '-' and '.', with a letter or digit at both ends of each part", name)
	}
}

// CheckMeshRef adds what is wrong with a reference to a mesh. It is laxer than
// CheckName because names of meshes once were.
func CheckMeshRef(mesh string, v *Violations) {
	switch {
	case mesh == "":
		v.Add("must not be empty")
	case len(mesh) > maxName:
		v.Add("must be at most %d characters long, not %d", maxName, len(mesh))
	case !meshRef.MatchString(mesh):
		v.Add("%q is no possible name of a mesh: use lower case letters, digits, '-', '_' and '.'", mesh)
	}
}

// CheckLabels adds what is wrong with the syntax of labels, by key; v is
// positioned at the labels.
func CheckLabels(labels map[string]string, v *Violations) {
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		CheckLabel(k, labels[k], v.At(Q(k)))
	}
}

// CheckLabel adds what is wrong with one label. Keys are an optional DNS prefix
// with '/' and a name, as for Kubernetes labels.
func CheckLabel(key, value string, v *Violations) {
	prefix, name, prefixed := strings.Cut(key, "/")
	if !prefixed {
		name = key
	}
	switch {
	case prefixed && prefix == "":
		v.Add("the part of the key before '/' must not be empty")
	case prefixed && (len(prefix) > maxName || !subdomain.MatchString(prefix)):
		v.Add("the part of the key before '/' must be a DNS name of at most %d characters", maxName)
	}
	if len(name) > maxLabelPart {
		v.Add("the name in the key must be at most %d characters long", maxLabelPart)
	}
	switch {
	case name == "":
		v.Add("the name in the key must not be empty")
	case !labelName.MatchString(name):
		v.Add("the name in the key may hold letters, digits, '-', '_' and '.' only, with a letter or digit at both ends")
	}
	if len(value) > maxLabelPart {
		v.Add("the value must be at most %d characters long, not %d", maxLabelPart, len(value))
	}
	if !labelValue.MatchString(value) {
		v.Add("the value may hold letters, digits, '-', '_' and '.' only, with a letter or digit at both ends")
	}
}
