// Command hostapp is an application on a host of a mesh of which it knows nothing.
// It is built without C, so that it resolves names itself.
//
//	hostapp http URL | grpc HOST:PORT | postgres URL
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	calls := map[string]func(context.Context, string) (string, error){"http": overHTTP, "grpc": overGRPC, "postgres": overPostgres}
	answer, err := calls[os.Args[1]](ctx, os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, "hostapp:", err)
		os.Exit(1)
	}
	fmt.Println(answer)
}

func overHTTP(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

func overGRPC(ctx context.Context, target string) (string, error) {
	c, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return "", err
	}
	defer c.Close()
	answer, err := grpc_health_v1.NewHealthClient(c).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "shop"}, grpc.WaitForReady(true))
	return answer.GetStatus().String(), err
}

func overPostgres(ctx context.Context, url string) (string, error) {
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		return "", err
	}
	defer c.Close(ctx)
	var answer string
	err = c.QueryRow(ctx, "SELECT 'rows: ' || count(*) FROM generate_series(1, 10000)").Scan(&answer)
	return answer, err
}
