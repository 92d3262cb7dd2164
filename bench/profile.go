package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// profiler takes profiles of the control plane; without a folder it does nothing.
type profiler struct{ folder, diag, form string }

// during runs a phase and writes a profile of its CPU time, of a minute at most.
func (p profiler) during(phase string, run func() error) error {
	if p.folder == "" {
		return run()
	}
	// A profile ends by time only, so its length is guessed from a phase's own.
	taken := make(chan error, 1)
	go func() { taken <- p.take(phase+".cpu", "/debug/pprof/profile?seconds=10") }()
	start := time.Now()
	if err := run(); err != nil {
		return err
	}
	if err := <-taken; err != nil {
		return err
	}
	fmt.Printf("(profile of the first 10 s of %s, which took %s)\n", phase, ms(time.Since(start)))
	return nil
}

// take writes what the diagnostics port answers.
func (p profiler) take(name, path string) error {
	if p.folder == "" {
		return nil
	}
	if err := os.MkdirAll(p.folder, 0o750); err != nil {
		return fmt.Errorf("folder for profiles: %w", err)
	}
	resp, err := http.Get(p.diag + path)
	if err != nil {
		return fmt.Errorf("profile %s: %w", name, err)
	}
	defer func() { _ = resp.Body.Close() }()
	file, err := os.Create(filepath.Join(p.folder, p.form+"-"+name))
	if err != nil {
		return fmt.Errorf("profile %s: %w", name, err)
	}
	if _, err := io.Copy(file, resp.Body); err != nil {
		return fmt.Errorf("profile %s: %w", name, err)
	}
	return file.Close() //nolint:wrapcheck // because the name is in it
}
