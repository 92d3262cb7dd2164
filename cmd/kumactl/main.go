// Command kumactl is the command line tool of the mesh.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"weft/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	home, _ := os.UserHomeDir() // without one, --config-file or --no-config are needed
	app := &cli.App{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Home: home, Env: os.Getenv, Now: time.Now}
	code := cli.Main(ctx, app, os.Args[1:])
	stop()
	os.Exit(code)
}
