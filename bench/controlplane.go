package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"weft/internal/freeport"
)

// controlPlane is a running kuma-cp.
type controlPlane struct {
	cmd   *exec.Cmd
	bin   string
	env   []string
	dir   string
	api   string
	xds   string
	diag  string
	token string
	ready time.Duration // exec to /ready
}

func freePorts(n int) []int {
	ports, err := freeport.Pick(n)
	if err != nil {
		panic(err) // no free port on loopback: nothing can be measured
	}
	return ports
}

func startControlPlane(ctx context.Context, o options) (*controlPlane, error) {
	dir, err := os.MkdirTemp("", "weft-bench-")
	if err != nil {
		return nil, fmt.Errorf("working folder: %w", err)
	}
	p := freePorts(7)
	cp := &controlPlane{
		dir: dir, api: fmt.Sprintf("http://127.0.0.1:%d", p[0]),
		xds: fmt.Sprintf("localhost:%d", p[2]), diag: fmt.Sprintf("http://127.0.0.1:%d", p[3]),
	}
	cp.bin = filepath.Join(o.bin, "kuma-cp")
	cp.env = append(os.Environ(),
		"KUMA_GENERAL_WORK_DIR="+dir, "KUMA_STORE_TYPE="+o.store, "KUMA_STORE_SQLITE_PATH="+filepath.Join(dir, "weft.db"),
		"KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE=none", "KUMA_XDS_DATAPLANE_DEREGISTRATION_DELAY=1s",
		"KUMA_API_SERVER_HTTP_PORT="+strconv.Itoa(p[0]), "KUMA_API_SERVER_HTTPS_PORT="+strconv.Itoa(p[1]),
		"KUMA_DP_SERVER_PORT="+strconv.Itoa(p[2]), "KUMA_DIAGNOSTICS_SERVER_PORT="+strconv.Itoa(p[3]),
		"KUMA_MONITORING_ASSIGNMENT_SERVER_PORT="+strconv.Itoa(p[4]), "KUMA_INTER_CP_SERVER_PORT="+strconv.Itoa(p[5]),
		"KUMA_MULTIZONE_GLOBAL_KDS_GRPC_PORT="+strconv.Itoa(p[6]))
	if o.profiles != "" {
		cp.env = append(cp.env, "KUMA_DIAGNOSTICS_DEBUG_ENDPOINTS=true")
	}
	if err := cp.run(ctx); err != nil {
		cp.stop()
		return nil, err
	}
	return cp, nil
}

// run starts the process, again if it ran before, and waits until it is ready.
func (cp *controlPlane) run(ctx context.Context) error {
	log, err := os.OpenFile(filepath.Join(cp.dir, "kuma-cp.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("log of kuma-cp: %w", err)
	}
	defer func() { _ = log.Close() }()
	cp.cmd = exec.CommandContext(ctx, cp.bin, "run")
	cp.cmd.Stdout, cp.cmd.Stderr = log, log
	cp.cmd.Dir, cp.cmd.Env = cp.dir, cp.env
	start := time.Now()
	if err := cp.cmd.Start(); err != nil {
		return fmt.Errorf("start kuma-cp: %w", err)
	}
	for deadline := start.Add(30 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		resp, err := http.Get(cp.diag + "/ready")
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				break
			}
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("kuma-cp is not ready after 30 s:\n%s", text)
		}
	}
	cp.ready = time.Since(start)
	token, err := os.ReadFile(filepath.Join(cp.dir, "admin-token"))
	if err != nil {
		return fmt.Errorf("admin token: %w", err)
	}
	cp.token = strings.TrimSpace(string(token))
	return nil
}

// end stops the process; its data stay.
func (cp *controlPlane) end() {
	if cp.cmd != nil && cp.cmd.Process != nil {
		_ = cp.cmd.Process.Signal(syscall.SIGTERM)
		_ = cp.cmd.Wait()
	}
}

func (cp *controlPlane) stop() {
	cp.end()
	_ = os.RemoveAll(cp.dir)
}

// send writes an object (or deletes it: body nil).
func (cp *controlPlane) send(method, path string, body any) error {
	var b []byte
	if body != nil {
		b, _ = json.Marshal(body)
	}
	req, err := http.NewRequest(method, cp.api+path, bytes.NewReader(b))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	req.Header.Set("Authorization", "Bearer "+cp.token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, _ := io.ReadAll(resp.Body)
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	return nil
}

// cpu returns the CPU time that a process used so far.
func cpu(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	sys, _ := strconv.Atoi(fields[12])
	const tick = 100 // USER_HZ on Linux
	return time.Duration(user+sys) * time.Second / tick
}

// resident returns the resident memory of a process in MiB.
func resident(pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, _ := strconv.Atoi(strings.Fields(rest)[0])
			return float64(kb) / 1024
		}
	}
	return 0
}
