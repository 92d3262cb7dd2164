package definition

import (
	"encoding/json"
	"fmt"
	"net"
	"strconv"
)

// serviceless is the port of an inbound that stands for no service.
const serviceless = 49151

// WithProbes returns the definition with a TCP probe at each inbound that has
// none, so that nobody is sent to an application that does not listen yet; and
// where the applications of all inbounds listen. What cannot be read is left as
// it is, for the control plane to complain about.
func (d *Definition) WithProbes() (probed *Definition, workloads []string, err error) {
	var object map[string]any
	if err := json.Unmarshal([]byte(d.JSON), &object); err != nil {
		return nil, nil, fmt.Errorf("read definition again: %w", err)
	}
	networking, _ := object["networking"].(map[string]any)
	inbounds, _ := networking["inbound"].([]any)
	for _, each := range inbounds {
		in, ok := each.(map[string]any)
		if !ok || textOf(in, "state") == "Ignored" {
			continue
		}
		port := numberOf(in, "servicePort")
		if port == 0 {
			port = numberOf(in, "port")
		}
		if port == 0 || numberOf(in, "port") == serviceless {
			continue
		}
		if in["serviceProbe"] == nil {
			in["serviceProbe"] = map[string]any{"tcp": map[string]any{}}
		}
		address := firstText(textOf(in, "serviceAddress"), textOf(in, "address"), textOf(networking, "address"))
		workloads = append(workloads, net.JoinHostPort(address, strconv.Itoa(port)))
	}
	out := *d
	if out.JSON, err = encode(object); err != nil {
		return nil, nil, fmt.Errorf("encode definition: %w", err)
	}
	return &out, workloads, nil
}

// numberOf returns a field that is a port, else zero.
func numberOf(o map[string]any, field string) int {
	f, _ := o[field].(float64)
	if f < 1 || f > 65535 || f != float64(int(f)) {
		return 0
	}
	return int(f)
}

func firstText(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}
