package journal_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/journal/journaltest"
)

func TestMain(m *testing.M) {
	appendUntilKilled()
	goleak.VerifyTestMain(m)
}

func TestMemory(t *testing.T) {
	journaltest.Contract(t, func(*testing.T) *journaltest.Store {
		m := journal.NewMemory(nil)
		return &journaltest.Store{
			Store:  m,
			Reopen: func(*testing.T) journal.Store { return m },
			Forge:  m.Forge,
			Post: func(_ *testing.T, cluster, origin string, header map[string]string, body []byte) {
				m.Post(posted(cluster, origin, header, body))
			},
		}
	})
}

func TestJetStream(t *testing.T) {
	journaltest.Contract(t, func(t *testing.T) *journaltest.Store {
		dir := t.TempDir()
		e := openEmbedded(t, dir)
		return &journaltest.Store{
			Store: e,
			Reopen: func(t *testing.T) journal.Store {
				if err := e.Close(); err != nil {
					t.Fatal(err)
				}
				return openEmbedded(t, dir)
			},
			Forge: e.Forge,
			Post: func(t *testing.T, cluster, origin string, header map[string]string, body []byte) {
				e.Post(t, posted(cluster, origin, header, body))
			},
		}
	})
}

func openEmbedded(t testing.TB, dir string) *journal.Embedded {
	t.Helper()
	e, err := journal.OpenEmbedded(t.Context(), dir, journal.EmbeddedOptions{Options: journal.Options{AckWait: time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

func posted(cluster, origin string, header map[string]string, body []byte) *nats.Msg {
	msg := nats.NewMsg("reroot-in." + cluster + "." + origin + ".u1")
	for k, v := range header {
		msg.Header.Set(k, v)
	}
	msg.Data = body
	return msg
}
