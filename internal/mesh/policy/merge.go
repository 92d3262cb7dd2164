package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// MergeConfs merges confs of ascending precedence (policies.md 1.7): objects
// field by field, everything else replaced, lists whose name starts with
// "append" concatenated unless they stand inside a list.
func MergeConfs[C any](cs []Contribution[C]) *C {
	if len(cs) == 1 {
		return cs[0].Conf
	}
	var tree any
	for _, c := range cs {
		tree = mergeTrees(tree, treeOf(c.Conf))
	}
	out := new(C)
	b, err := json.Marshal(tree)
	if err == nil {
		err = json.Unmarshal(b, out)
	}
	if err != nil { // a conf's JSON form does not read back: a broken type
		panic(fmt.Sprintf("policy: merge confs of type %T: %v", out, err))
	}
	return out
}

func treeOf(v any) any {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("policy: conf of type %T: %v", v, err))
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var tree any
	if err := d.Decode(&tree); err != nil {
		panic(fmt.Sprintf("policy: conf of type %T: %v", v, err))
	}
	return tree
}

// mergeTrees returns low with high laid over it. Both belong to the caller.
func mergeTrees(low, high any) any {
	l, lok := low.(map[string]any)
	h, hok := high.(map[string]any)
	if !lok || !hok {
		return high
	}
	for k, v := range h {
		if strings.HasPrefix(k, "append") {
			if ll, ok := l[k].([]any); ok {
				if hl, ok := v.([]any); ok {
					l[k] = append(ll, hl...)
					continue
				}
			}
		}
		if v == nil { // RFC 7396: null removes
			delete(l, k)
			continue
		}
		l[k] = mergeTrees(l[k], v)
	}
	return l
}
