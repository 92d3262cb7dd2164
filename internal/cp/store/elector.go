package store

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Campaign is how one platform decides who leads. It takes part until ctx ends,
// and calls lead whenever this instance leads, with a context that ends when it
// does not any more; it calls lead again only after it returned.
type Campaign func(ctx context.Context, lead func(ctx context.Context)) error

// Alone is the Campaign of an instance that has its data for itself.
func Alone(ctx context.Context, lead func(ctx context.Context)) error {
	lead(ctx)
	return nil
}

// NewElector returns an Elector that follows a Campaign.
func NewElector(campaign Campaign, log *slog.Logger) Elector {
	return &elector{campaign: campaign, log: log}
}

type elector struct {
	campaign Campaign
	log      *slog.Logger
	tasks    []task
	leading  atomic.Bool
}

type task struct {
	name string
	run  func(ctx context.Context) error
}

// OnLeader implements Elector.
func (e *elector) OnLeader(name string, f func(ctx context.Context) error) {
	e.tasks = append(e.tasks, task{name, f})
}

// Leading implements Elector.
func (e *elector) Leading() bool { return e.leading.Load() }

// Run implements Elector.
func (e *elector) Run(ctx context.Context) error {
	if err := e.campaign(ctx, e.lead); err != nil && ctx.Err() == nil {
		return fmt.Errorf("take part in leader election: %w", err)
	}
	return nil
}

// lead runs all tasks and returns when all have ended.
func (e *elector) lead(ctx context.Context) {
	e.log.Info("this instance leads")
	e.leading.Store(true)
	var tasks sync.WaitGroup
	for _, t := range e.tasks {
		tasks.Go(func() { e.keepRunning(ctx, t) })
	}
	<-ctx.Done()
	e.leading.Store(false)
	tasks.Wait()
	e.log.Info("this instance does not lead any more")
}

// Pauses before a task that ended with an error is started again.
const (
	firstPause = 500 * time.Millisecond
	lastPause  = 30 * time.Second
)

// keepRunning runs a task until it ends without error or ctx ends. One that
// broke early says nothing about the others, so it is started again.
func (e *elector) keepRunning(ctx context.Context, t task) {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := t.run(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		e.log.Error("leader task ended, starting it again", "task", t.name, "error", err, "pause", pause)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}
