// Package dp is kuma-dp: it fetches the bootstrap document of one proxy from
// the control plane, runs Envoy with it, and runs the helpers that Envoy needs
// beside it (DNS, readiness, access logs, metrics, probes).
//
// The command line is in dp/command; each helper has a folder of its own. Run
// owns every goroutine and process that it starts: when it returns, all have
// ended and temporary files are gone. Nothing about policies is decided here.
package dp
