package admit

import (
	"encoding/json"
	"fmt"

	"weft/internal/mesh/model"
)

// Roles of a policy, by who wrote it for whom.
const (
	RoleSystem        = "system"
	RoleWorkloadOwner = "workload-owner"
	RoleProducer      = "producer"
	RoleConsumer      = "consumer"
)

// directions is the part of any targetRef policy that decides its role.
type directions struct {
	To   []direction `json:"to"`
	From []direction `json:"from"`
}

type direction struct {
	TargetRef struct {
		Kind      string `json:"kind"`
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	} `json:"targetRef"`
}

// policyRole returns the role of a policy in a namespace: those in the control
// plane's namespace are the system's; others speak for the workloads of their
// namespace, as a server (producer) or as a client (consumer).
func (g *Gate) policyRole(o *model.Object, namespace string) (string, error) {
	if namespace == g.SystemNamespace {
		return RoleSystem, nil
	}
	b, err := model.EncodeSpec(o.Spec)
	if err != nil {
		return "", fmt.Errorf("find the role of %s: %w", o.Key(), err)
	}
	var d directions
	if err := json.Unmarshal(b, &d); err != nil {
		return "", fmt.Errorf("find the role of %s: %w", o.Key(), err)
	}
	var v model.Violations
	switch {
	case len(d.From) > 0 && len(d.To) > 0:
		v.At("spec").Add("must not have both to and from; write two policies")
		return "", v.Err()
	case len(d.To) == 0:
		return RoleWorkloadOwner, nil
	}
	producers := 0
	for _, to := range d.To {
		r := to.TargetRef
		if r.Kind == "MeshService" && r.Name != "" && (r.Namespace == "" || r.Namespace == namespace) {
			producers++
		}
	}
	switch producers {
	case 0:
		return RoleConsumer, nil
	case len(d.To):
		return RoleProducer, nil
	}
	v.At("spec", "to").Add("mixes services of this namespace with other destinations; write a policy for each")
	return "", v.Err()
}
