package cp_test

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"weft/internal/config"
	"weft/internal/cp"
	"weft/internal/testkit/freeport"
)

// TestPortsInUse: a control plane that misses one of its ports ends with an error
// that names the setting.
func TestPortsInUse(t *testing.T) {
	variables := []string{"KUMA_API_SERVER_HTTP_PORT", "KUMA_API_SERVER_HTTPS_PORT", "KUMA_DP_SERVER_PORT", "KUMA_DIAGNOSTICS_SERVER_PORT"}
	for i, variable := range variables {
		t.Run(variable, func(t *testing.T) {
			ports := freeport.Take(t, len(variables))
			other, err := net.Listen("tcp", fmt.Sprintf(":%d", ports[i]))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = other.Close() }()
			env := []string{"KUMA_STORE_TYPE=memory", "KUMA_GENERAL_WORK_DIR=" + t.TempDir()}
			for n, v := range variables {
				env = append(env, fmt.Sprintf("%s=%d", v, ports[n]))
			}
			c, _, err := config.Load("", env)
			if err != nil {
				t.Fatal(err)
			}
			err = cp.Run(t.Context(), c, cp.Host{Name: "host", Now: time.Now}, slog.New(slog.DiscardHandler))
			if err == nil || !strings.Contains(err.Error(), variable) || !strings.Contains(err.Error(), "in use") {
				t.Errorf("got %v, want an error that names %s", err, variable)
			}
		})
	}
}

// clock is the time of a host whose clock is set forward and back.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// TestClockJumps: when the clock jumps, tokens count by the new time, objects can
// be written and read, newer ones never look older than they are to writers, and
// when the clock is right again everything is as before.
func TestClockJumps(t *testing.T) {
	var c clock
	p := startAt(t, c.now, "KUMA_STORE_TYPE=sqlite")
	status, token := p.do(t, http.MethodPost, p.api+"/tokens/user", `{"name":"jo","groups":["mesh-system:admin"],"validFor":"1h"}`)
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, token)
	}
	jo := *p
	jo.token = strings.TrimSpace(token)
	write := func(name string, want int) {
		t.Helper()
		body := fmt.Sprintf(`{"type":"Mesh","name":%q}`, name)
		if status, text := jo.do(t, http.MethodPut, p.api+"/meshes/"+name, body); status != want {
			t.Errorf("write at %+v: %d %s, want %d", time.Duration(c.ahead.Load()), status, text, want)
		}
	}
	write("m", http.StatusCreated)
	c.ahead.Store(int64(2 * time.Hour))
	write("m", http.StatusUnauthorized) // the token has ended
	c.ahead.Store(int64(-24 * time.Hour))
	write("m", http.StatusUnauthorized) // it is not valid yet
	if status := p.status(t, http.MethodGet, p.diagnostics+"/ready", ""); status != http.StatusOK {
		t.Errorf("not ready any more: %d", status)
	}
	c.ahead.Store(0)
	write("m", http.StatusOK)
	write("n", http.StatusCreated)
	if status, text := jo.do(t, http.MethodGet, p.api+"/meshes", ""); status != http.StatusOK || !strings.Contains(text, `"total": 3`) {
		t.Errorf("%d %s", status, text)
	}
}
