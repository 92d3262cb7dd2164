package rest

import (
	"cmp"
	"net/url"
	"regexp"

	"weft/internal/mesh/model"
)

// present answers with one object in the form that the query asks for.
func (s *Server) present(q url.Values, o *model.Object) (*reply, error) {
	switch q.Get("format") {
	case "", "universal":
		return ok(o), nil
	case "k8s", "kubernetes":
	default:
		return nil, invalid("format", "must be universal, kubernetes or k8s")
	}
	namespace := cmp.Or(q.Get("namespace"), s.Config.Store.Kubernetes.SystemNamespace)
	if len(namespace) > maxNamespace || !namespaceName.MatchString(namespace) {
		return nil, invalid("namespace", "is no name of a namespace: use up to 63 small letters, digits and dashes")
	}
	m, err := kubeForm(o, namespace)
	if err != nil {
		return nil, err
	}
	return ok(m), nil
}

const maxNamespace = 63

var namespaceName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)
