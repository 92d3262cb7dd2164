// Package meshmetric follows what a MeshMetric policy says about one proxy:
// the control plane puts a document behind a socket of Envoy, and this package
// fetches it, answers scrapes by Prometheus and sends metrics to OpenTelemetry
// collectors. An Observer is run once by kuma-dp; scrapes may come from any
// goroutine.
package meshmetric

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"weft/internal/dp/metrics"
)

const (
	fetchTimeout = 5 * time.Second
	// maxDocument bounds the document; real ones are some kilobytes.
	maxDocument = 1 << 20
	// eager is how often it is looked for a document at first, so that a new
	// proxy is not without metrics for a whole period.
	eager    = time.Second
	eagerFor = 30 * time.Second
)

// Node says which proxy this is.
type Node struct {
	// Mesh and Name of the proxy.
	Mesh, Name string
	// Service that it belongs to.
	Service string
}

// Options say where things are.
type Options struct {
	// Node says which proxy this is.
	Node Node
	// Version of kuma-dp.
	Version string
	// Socket with the document.
	Socket string
	// Refresh is the time between two looks at it.
	Refresh time.Duration
	// AdminAddress and AdminPort of Envoy; a port of zero means none.
	AdminAddress string
	AdminPort    uint16
	// Address of the proxy, where applications are asked that name none.
	Address string
	// Dial connects to targets.
	Dial metrics.Dial
	// FlushTimeout bounds the last sending at the end.
	FlushTimeout time.Duration
	// Log receives what happens.
	Log *slog.Logger
}

// settings are what one document leads to. They are never changed.
type settings struct {
	targets    []target
	labels     []label
	collectors []collector
}

// Observer follows the document.
type Observer struct {
	node     Node
	version  string
	options  Options
	scraper  scraper
	document *http.Client
	own      *prometheus.Registry
	began    time.Time
	log      *slog.Logger

	current atomic.Pointer[settings]

	// mu guards fetching and what follows from it.
	mu        sync.Mutex
	last      []byte
	trouble   string
	exporters map[string]*exporter
	stopped   bool
}

// New returns an Observer that knows of no document yet.
func New(o Options, began time.Time) (*Observer, error) {
	own, err := newOwn()
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{}
	return &Observer{
		node: o.Node, version: o.Version, options: o, own: own, began: began, log: o.Log,
		scraper: scraper{log: o.Log, client: &http.Client{
			Transport: &http.Transport{DialContext: o.Dial, MaxIdleConnsPerHost: 1, IdleConnTimeout: 2 * time.Minute, DisableCompression: true},
		}},
		document: &http.Client{Timeout: fetchTimeout, Transport: &http.Transport{
			DisableKeepAlives: true, // the listener is replaced with each new document
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, "unix", o.Socket)
			},
		}},
		exporters: map[string]*exporter{},
	}, nil
}

// Run follows the document until ctx ends, then sends metrics a last time.
func (o *Observer) Run(ctx context.Context) error {
	wait := time.NewTimer(0)
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			o.shutDown(context.WithoutCancel(ctx))
			return nil
		case <-wait.C:
		}
		o.refresh(ctx)
		pause := o.options.Refresh
		if s := o.current.Load(); (s == nil || len(s.targets) == 0) && time.Since(o.began) < eagerFor {
			pause = min(pause, eager)
		}
		wait.Reset(pause)
	}
}

func (o *Observer) shutDown(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, o.options.FlushTimeout)
	defer cancel()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stopped = true
	var wait sync.WaitGroup
	for _, e := range o.exporters {
		wait.Go(func() { e.stop(ctx, true) })
	}
	wait.Wait()
	o.exporters = nil
	o.scraper.client.CloseIdleConnections()
}

// settings returns what holds now. A scrape that comes before the first look
// at the document does not go away empty.
func (o *Observer) settings(ctx context.Context) *settings {
	if s := o.current.Load(); s != nil {
		return s
	}
	o.refresh(ctx)
	if s := o.current.Load(); s != nil {
		return s
	}
	return &settings{}
}

// refresh looks at the document and follows it when it has changed.
func (o *Observer) refresh(ctx context.Context) {
	o.mu.Lock()
	defer o.mu.Unlock()
	text, known, err := o.fetch(ctx)
	if err != nil {
		// What held so far goes on: a busy Envoy must not stop the metrics.
		o.complain(ctx, err)
		return
	}
	if o.stopped || !known || o.current.Load() != nil && bytes.Equal(text, o.last) {
		return
	}
	d, err := parse(text)
	if err != nil {
		o.complain(ctx, err)
		return
	}
	o.trouble = ""
	o.last = text
	o.follow(ctx, d)
}

// complain logs a trouble once, however often it comes.
func (o *Observer) complain(ctx context.Context, err error) {
	if ctx.Err() != nil || o.trouble == err.Error() {
		return
	}
	o.trouble = err.Error()
	o.log.Warn("cannot follow the metrics document; what held so far goes on", "error", err)
}

// fetch reads the document. It is not known while the socket was never there,
// and empty when the policy is gone.
func (o *Observer) fetch(ctx context.Context) (text []byte, known bool, err error) {
	if _, err := os.Stat(o.options.Socket); errors.Is(err, os.ErrNotExist) {
		return nil, o.current.Load() != nil, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/meshmetric", nil)
	if err != nil {
		return nil, false, err
	}
	resp, err := o.document.Do(req)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, os.ErrNotExist):
		return nil, true, nil
	case err != nil:
		return nil, false, fmt.Errorf("ask Envoy for the metrics document: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, false, fmt.Errorf("ask Envoy for the metrics document: status %d", resp.StatusCode)
	}
	text, err = io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	if err == nil && len(text) > maxDocument {
		err = fmt.Errorf("it is longer than %d bytes", maxDocument)
	}
	if err != nil {
		return nil, false, fmt.Errorf("read the metrics document: %w", err)
	}
	return text, true, nil
}

// follow makes everything as the document says.
func (o *Observer) follow(ctx context.Context, d Document) {
	s := &settings{labels: common(o.node, d.ExtraLabels)}
	var problems []error
	for _, a := range d.Applications {
		s.targets = append(s.targets, applicationTarget(a, o.options.Address))
	}
	if o.options.AdminPort > 0 && len(d.Backends) > 0 {
		f, more := newFilter(d.Sidecar.Profiles)
		problems = append(problems, more...)
		s.targets = append(s.targets, envoyTarget(o.options.AdminAddress, o.options.AdminPort, d.Sidecar.IncludeUnused, &f))
	}
	var more []error
	s.collectors, more = d.collectors()
	for _, p := range append(problems, more...) {
		o.log.Warn("a part of the metrics document is left out", "error", p)
	}
	o.current.Store(s)
	o.log.Info("metrics settings changed", "applications", len(d.Applications), "backends", len(d.Backends))
	o.reconcile(ctx, s.collectors)
}

// reconcile starts, restarts and ends exporters; those that stay the same are
// not disturbed.
func (o *Observer) reconcile(ctx context.Context, want []collector) {
	stay := map[string]bool{}
	for _, c := range want {
		if e := o.exporters[c.name]; e != nil && e.collector == c {
			stay[c.name] = true
		}
	}
	for name, e := range o.exporters {
		if !stay[name] {
			delete(o.exporters, name)
			e.stop(ctx, false)
		}
	}
	for _, c := range want {
		if stay[c.name] {
			continue
		}
		e, err := startExporter(ctx, o, c)
		if err != nil {
			o.log.Warn("a part of the metrics document is left out", "error", err)
			continue
		}
		o.exporters[c.name] = e
	}
}

// leftOut says that a target gave no metrics.
func (o *Observer) leftOut(t target, err error) {
	o.log.Warn("metrics of a target are left out", "target", t.name, "error", err)
}
