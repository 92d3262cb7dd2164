// Command webapp is an application for tests of `kuma-dp run -- COMMAND`: it
// answers on ADDRESS until it is told to stop, then calls LAST_CALL, which must
// still work, and ends.
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	srv := &http.Server{Addr: os.Args[1], Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "webapp")
	})}
	// At the start the way out through the proxy must already be open; and a slow
	// start must not be noticed by anybody.
	call("first", os.Args[2])
	time.Sleep(500 * time.Millisecond)
	go func() {
		if err := srv.ListenAndServe(); err != http.ErrServerClosed {
			fmt.Println("webapp:", err)
			os.Exit(9)
		}
	}()
	<-ctx.Done()
	call("last", os.Args[2])
	bound, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := srv.Shutdown(bound); err != nil {
		fmt.Println("webapp: requests under way at the end:", err)
		os.Exit(8)
	}
	fmt.Println("webapp: goodbye")
}

func call(which, url string) {
	resp, err := http.Get(url)
	if err != nil {
		fmt.Printf("webapp: %s call: %v\n", which, err)
		os.Exit(7)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		fmt.Printf("webapp: %s call: %s\n", which, resp.Status)
		os.Exit(7)
	}
	fmt.Printf("webapp: %s call went well\n", which)
}
