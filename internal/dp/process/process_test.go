package process

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weft/internal/testkit/lockedbuf"
)

func shell(out *lockedbuf.Buffer, text string) *Process {
	return &Process{Name: "Shell", Path: "/bin/sh", Args: []string{"-c", text}, Stdout: out, Stderr: out, Log: slog.New(slog.DiscardHandler)}
}

func TestEndByItself(t *testing.T) {
	for text, want := range map[string]int{"exit 0": 0, "exit 7": 7, "kill -9 $$": 137, "kill -11 $$": 139} {
		err := shell(&lockedbuf.Buffer{}, text).Run(t.Context())
		var ended *ExitError
		switch {
		case want == 0 && err != nil:
			t.Errorf("%q: %v", text, err)
		case want != 0 && (!errors.As(err, &ended) || ended.Code != want):
			t.Errorf("%q: %v", text, err)
		}
	}
	if err := (&Process{Name: "Nothing", Path: "/no/such", Log: slog.New(slog.DiscardHandler)}).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "start Nothing") {
		t.Errorf("got %v", err)
	}
}

func TestStop(t *testing.T) {
	for name, tc := range map[string]struct {
		text     string
		min, max time.Duration
		want     string
	}{
		"obeys":   {"trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.02; done", 0, 4 * time.Second, "bye"},
		"refuses": {"trap '' TERM; echo up; while :; do sleep 0.02; done", stopGrace, 3 * stopGrace, "up"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := &lockedbuf.Buffer{}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- shell(out, tc.text).Run(ctx) }()
			deadline := time.Now().Add(10 * time.Second)
			for !strings.Contains(out.String(), "up") {
				if time.Now().After(deadline) {
					t.Fatal("does not start")
				}
				time.Sleep(time.Millisecond) // the pause of a poll with a deadline
			}
			began := time.Now()
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took < tc.min || took > tc.max {
				t.Errorf("took %s", took)
			}
			if !strings.Contains(out.String(), tc.want) {
				t.Errorf("output %q", out)
			}
		})
	}
}

func TestFindSkipsWhatCannotRun(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.WriteFile(filepath.Join(dir, "tool"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if path, tried := Find("no-such-tool", "tool"); path != "" || len(tried) != 3 {
		t.Errorf("got %q, tried %v", path, tried)
	}
}
