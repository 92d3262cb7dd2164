package dp

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// after returns a check that passes from a moment on.
func after(d time.Duration) func(context.Context) bool {
	at := time.Now().Add(d)
	return func(context.Context) bool { return !time.Now().Before(at) }
}

func TestGate(t *testing.T) {
	const never = 1000 * time.Hour
	for name, tc := range map[string]struct {
		envoy, names time.Duration // negative means no check
		want         time.Duration
		log          string
	}{
		"at once":             {0, 0, 0, ""},
		"no checks":           {-1, -1, 0, ""},
		"Envoy last":          {2 * time.Second, time.Second, 2 * time.Second, ""},
		"names last":          {time.Second, 3 * time.Second, 3 * time.Second, ""},
		"names only":          {-1, 3 * time.Second, 3 * time.Second, ""},
		"no names":            {2 * time.Second, never, 2*time.Second + tableWait, "no DNS listener"},
		"slow Envoy":          {40 * time.Second, 0, 40 * time.Second, "waits for its configuration"},
		"slow Envoy no names": {40 * time.Second, -1, 40 * time.Second, "waits for its configuration"},
		"never":               {never, 0, never, "waits for its configuration"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log strings.Builder
				g := gate{log: slog.New(slog.NewTextHandler(&log, nil))}
				if tc.envoy >= 0 {
					g.envoy = after(tc.envoy)
				}
				if tc.names >= 0 {
					g.names = after(tc.names)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				began := time.Now()
				passed := g.pass(ctx)
				took := time.Since(began)
				if passed != (tc.want < time.Hour) {
					t.Errorf("passed: %t", passed)
				}
				if passed && (took < tc.want || took > tc.want+2*time.Second) {
					t.Errorf("took %s, want %s", took, tc.want)
				}
				if tc.log == "" && log.Len() > 0 || strings.Count(log.String(), "level=WARN") > 1 || !strings.Contains(log.String(), tc.log) {
					t.Errorf("log: %s", &log)
				}
			})
		})
	}
}
