//go:build !linux

package backend

func inNamespace(func() error) error { return ErrNoNamespace }
