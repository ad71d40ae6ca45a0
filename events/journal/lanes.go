package journal

import (
	"errors"
	"sync"
	"time"
)

// lanes runs work of one cluster one after the other, and of different clusters side by side.
type lanes struct {
	room  chan struct{} // bounds what is queued or running
	wg    sync.WaitGroup
	mu    sync.Mutex
	queue map[string][]func()
}

// inFlight bounds the deliveries that one subscription holds at a time.
const inFlight = 256

func newLanes() *lanes {
	return &lanes{room: make(chan struct{}, inFlight), queue: map[string][]func(){}}
}

// add queues work and returns at once; the caller has taken a place in room.
func (l *lanes) add(cluster string, work func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	waiting, running := l.queue[cluster]
	l.queue[cluster] = append(waiting, work)
	if !running {
		l.wg.Go(func() { l.run(cluster) })
	}
}

func (l *lanes) run(cluster string) {
	for {
		l.mu.Lock()
		if len(l.queue[cluster]) == 0 {
			delete(l.queue, cluster)
			l.mu.Unlock()
			return
		}
		work := l.queue[cluster][0]
		l.queue[cluster] = l.queue[cluster][1:]
		l.mu.Unlock()
		work()
		<-l.room
	}
}

// pause is how long to wait before the next attempt at a delivery whose handling failed.
func pause(err error, attempt int) time.Duration {
	if later := (*Later)(nil); errors.As(err, &later) {
		return later.After
	}
	const first, most = 100 * time.Millisecond, 30 * time.Second
	if attempt > 8 {
		return most
	}
	return min(first<<max(attempt-1, 0), most)
}
