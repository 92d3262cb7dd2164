package admit

import (
	"net/http"

	"weft/internal/mesh/model"
)

// ReadOnly is the error for a write that is not this control plane's to make.
type ReadOnly struct{ Message string }

// Error returns the message.
func (e *ReadOnly) Error() string { return e.Message }

// HTTPStatus says how the API answers.
func (e *ReadOnly) HTTPStatus() (status int, title, detail string) {
	return http.StatusMethodNotAllowed, "Method not allowed", e.Message + "\n"
}

// Writable refuses kinds that may not be written through this control plane's API.
func (g *Gate) Writable(kind *model.Kind) error {
	switch {
	case kind.ReadOnly:
		return &ReadOnly{kind.Name + " objects are written by the control plane itself; they can only be read."}
	case g.Global && kind.Flow&model.GlobalWrites == 0:
		return &ReadOnly{kind.Name + " objects belong to zones: on a global control plane they can only be read. Write them on the zone's control plane."}
	case g.Federated && !g.Global && kind.Flow&model.ZoneWrites == 0:
		return &ReadOnly{kind.Name + " objects come from the global control plane: on a zone's they can only be read. Write them on the global control plane."}
	case g.ReadOnly && g.Kubernetes:
		return &ReadOnly{"This API is read-only, because objects live in the Kubernetes API. Write them with kubectl."}
	case g.ReadOnly:
		return &ReadOnly{"This API is read-only by its configuration (apiServer.readOnly)."}
	}
	return nil
}

// owned refuses to change or delete an object that was mirrored from another
// control plane: its owner is the only writer, and would undo the change.
func (g *Gate) owned(prior *model.Object) error {
	origin := prior.Label(model.LabelOrigin)
	switch {
	case g.Global && origin == model.OriginZone && prior.Label(model.LabelZone) != "":
		return &ReadOnly{prior.Kind.Name + " " + prior.Meta.Name + " belongs to zone " + prior.Label(model.LabelZone) +
			"; change it on that zone's control plane."}
	case g.Federated && !g.Global && origin == model.OriginGlobal:
		return &ReadOnly{prior.Kind.Name + " " + prior.Meta.Name + " comes from the global control plane; change it there."}
	case g.Federated && !g.Global && g.foreign(prior):
		return &ReadOnly{prior.Kind.Name + " " + prior.Meta.Name + " comes from zone " + prior.Label(model.LabelZone) +
			"; change it on that zone's control plane."}
	}
	return nil
}

// foreign tells whether the object came from another zone.
func (g *Gate) foreign(o *model.Object) bool {
	z := o.Label(model.LabelZone)
	return z != "" && g.Zone != "" && z != g.Zone
}
