package journal

import (
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
)

// Forge adds an event to a history as it is.
func (m *Memory) Forge(t *testing.T, cluster string, e event.Event) {
	msg, err := historyMessage(cluster, e)
	if err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(cluster, msg)
	m.touch()
}

// Post puts a message into the inbox as it is.
func (m *Memory) Post(msg *nats.Msg) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.inbox.push(msg)
	m.touch()
}

// Forge adds an event to a history as it is.
func (j *JetStream) Forge(t *testing.T, cluster string, e event.Event) {
	msg, err := historyMessage(cluster, e)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := j.request(t.Context(), msg); err != nil {
		t.Fatal(err)
	}
}

// Post puts a message into the inbox as it is.
func (j *JetStream) Post(t *testing.T, msg *nats.Msg) {
	if _, err := j.request(t.Context(), msg); err != nil {
		t.Fatal(err)
	}
}
