package identity

import (
	"container/heap"
	"time"
)

// timers holds one time for each leaf that waits, so that thousands of proxies
// need one clock only. The Service's mutex guards it.
type timers struct{ list []*timer }

// timer is the place of a leaf among the timers.
type timer struct {
	leaf  *leaf
	at    time.Time
	index int // plus 1; 0 = not waiting
}

// set makes a leaf due at a time, in place of an earlier wish. It tells whether
// the leaf is the first of all.
func (t *timers) set(e *timer, l *leaf, at time.Time) bool {
	e.leaf, e.at = l, at
	if e.index > 0 {
		heap.Fix(t, e.index-1)
	} else {
		heap.Push(t, e)
	}
	return e.index == 1
}

func (t *timers) stop(e *timer) {
	if e.index > 0 {
		heap.Remove(t, e.index-1)
	}
}

// next takes a leaf that is due, or says how long to wait for one.
func (t *timers) next(now time.Time) (*leaf, time.Duration) {
	if len(t.list) == 0 {
		return nil, time.Hour
	}
	if wait := t.list[0].at.Sub(now); wait > 0 {
		return nil, wait
	}
	return heap.Pop(t).(*timer).leaf, 0
}

// Len, Less, Swap, Push and Pop implement heap.Interface.

// Len implements heap.Interface.
func (t *timers) Len() int { return len(t.list) }

// Less implements heap.Interface.
func (t *timers) Less(i, j int) bool { return t.list[i].at.Before(t.list[j].at) }

// Swap implements heap.Interface.
func (t *timers) Swap(i, j int) {
	t.list[i], t.list[j] = t.list[j], t.list[i]
	t.list[i].index, t.list[j].index = i+1, j+1
}

// Push implements heap.Interface.
func (t *timers) Push(x any) {
	e := x.(*timer) //nolint:forcetypeassert // because only timers are pushed
	t.list = append(t.list, e)
	e.index = len(t.list)
}

// Pop implements heap.Interface.
func (t *timers) Pop() any {
	n := len(t.list) - 1
	e := t.list[n]
	t.list[n] = nil
	t.list = t.list[:n]
	e.index = 0
	return e
}
