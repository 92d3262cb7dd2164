//go:build !linux

package tproxy

import "errors"

var errNotLinux = errors.New("the transparent proxy needs Linux")

func addSource(string) (bool, error) { return false, errNotLinux }

func removeSource(string) error { return errNotLinux }
