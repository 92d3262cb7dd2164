package main

import (
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// The demo's services. Each is a plain HTTP program that knows nothing of the
// mesh: it listens on loopback and calls the next one on a loopback port that
// its sidecar offers.

// counter counts requests and tells how many it had.
func counter(instance string) http.Handler {
	var hits atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("POST /increment", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(tally{Instance: instance, Count: hits.Add(1)})
	})
	mux.HandleFunc("GET /count", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(tally{Instance: instance, Count: hits.Load()})
	})
	return mux
}

type tally struct {
	Instance string `json:"instance"`
	Count    int64  `json:"count"`
}

var pageTemplate = template.Must(template.New("page").Parse(`<!doctype html>
<title>Weft demo</title>
<style>body{font:16px system-ui;margin:4rem auto;max-width:36rem;color:#1c2b33}b{font-size:3rem;color:#0b6b53}</style>
<h1>Weft demo</h1>
<p>Your request went <i>client → sidecar → web → sidecar → sidecar → {{.Instance}}</i>.</p>
<p>That instance has counted <b>{{.Count}}</b> visits. Reload: another one may answer.</p>
`))

// web shows a page with the count, which it asks of the counter.
func web(counterURL string) http.Handler {
	client := &http.Client{Timeout: 2 * time.Second}
	visit := func() (tally, error) {
		resp, err := client.Post(counterURL+"/increment", "application/json", nil)
		if err != nil {
			return tally{}, fmt.Errorf("ask the counter: %w", err)
		}
		defer func() { _ = resp.Body.Close() }()
		if resp.StatusCode != http.StatusOK {
			text, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
			return tally{}, fmt.Errorf("the counter answered %s: %s", resp.Status, text)
		}
		var t tally
		if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<16)).Decode(&t); err != nil {
			return tally{}, fmt.Errorf("read the counter's answer: %w", err)
		}
		return t, nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		t, err := visit()
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = pageTemplate.Execute(w, t)
	})
	mux.HandleFunc("GET /api", func(w http.ResponseWriter, _ *http.Request) {
		t, err := visit()
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(t)
	})
	return mux
}
