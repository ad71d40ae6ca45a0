package journal

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
)

// Export writes a cluster's history to w: one event a line, in structured mode, as it stands in the journal.
func Export(ctx context.Context, log Log, cluster string, w io.Writer) error {
	buf := bufio.NewWriter(w)
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	for r, err := range log.Read(ctx, cluster, 1) {
		if err != nil {
			return fmt.Errorf("cannot export the history of %s: %w", cluster, err)
		}
		if err := enc.Encode(r.Event); err != nil {
			return fmt.Errorf("cannot export event %d of %s: %w", events.Sequence(r.Event), cluster, err)
		}
	}
	if err := buf.Flush(); err != nil {
		return fmt.Errorf("cannot export the history of %s: %w", cluster, err)
	}
	return nil
}

// Bounds of what [Import] reads.
const (
	maxLine  = 2 * events.MaxData
	maxLines = 1 << 20
)

// Import reads what [Export] wrote, of one cluster or several, into a store in memory. Every event keeps its stamps;
// it returns an [events.ChainError] where an event has been changed, added or left out.
func Import(r io.Reader) (*Memory, error) {
	m := NewMemory(nil)
	links := map[string]*chain{}
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	for n := 1; lines.Scan(); n++ {
		if n > maxLines {
			return nil, fmt.Errorf("cannot import more than %d events", maxLines)
		}
		if len(lines.Bytes()) == 0 {
			continue
		}
		var e event.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("cannot import line %d: %w", n, err)
		}
		cluster := events.Cluster(e)
		if links[cluster] == nil {
			links[cluster] = &chain{}
		}
		if _, err := links[cluster].next(e); err != nil {
			return nil, fmt.Errorf("cannot import line %d: %w", n, err)
		}
		msg, err := historyMessage(cluster, e)
		if err != nil {
			return nil, fmt.Errorf("cannot import line %d: %w", n, err)
		}
		m.put(cluster, msg)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("cannot import: %w", err)
	}
	if len(links) == 0 {
		return nil, errors.New("cannot import: no events")
	}
	return m, nil
}
