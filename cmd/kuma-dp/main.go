// Command kuma-dp runs one proxy of the mesh.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"weft/internal/dp/command"
)

func main() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGUSR2)
	os.Exit(command.Main(context.Background(), command.Environment{
		Args:    os.Args[1:],
		Env:     os.Environ(),
		Stdin:   os.Stdin,
		Stdout:  os.Stdout,
		Stderr:  os.Stderr,
		Signals: signals,
		Notify:  func(s ...os.Signal) { signal.Notify(signals, s...) },
		Exit:    os.Exit,
	}))
}
