package journal_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/reroot-dev/reroot/events/journal"
)

func TestOpenChecksDurability(t *testing.T) {
	for name, c := range map[string]struct {
		syncAlways bool
		vouched    bool
		ask        bool
		want       error
	}{
		"synced and asked":     {syncAlways: true, ask: true},
		"not synced and asked": {ask: true, want: journal.ErrNotDurable},
		"nobody can tell":      {syncAlways: true, want: journal.ErrNotDurable},
		"vouched for":          {syncAlways: true, vouched: true},
	} {
		t.Run(name, func(t *testing.T) {
			nc, system := remote(t, c.syncAlways)
			opts := journal.Options{Synced: c.vouched}
			if c.ask {
				opts.System = system
			}
			if _, err := journal.Open(t.Context(), nc, opts); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

// remote starts a server that listens on loopback, with an account and a system account.
func remote(t *testing.T, syncAlways bool) (nc, system *nats.Conn) {
	t.Helper()
	sys, app := server.NewAccount("SYS"), server.NewAccount("APP")
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(), SyncAlways: syncAlways,
		Accounts: []*server.Account{sys, app}, SystemAccount: "SYS",
		Users: []*server.User{{Username: "sys", Password: "x", Account: sys}, {Username: "app", Password: "x", Account: app}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not start")
	}
	account, err := s.LookupAccount("APP")
	if err != nil {
		t.Fatal(err)
	}
	if err := account.EnableJetStream(nil, nil); err != nil {
		t.Fatal(err)
	}
	connect := func(user string) *nats.Conn {
		c, err := nats.Connect(s.ClientURL(), nats.UserInfo(user, "x"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	return connect("app"), connect("sys")
}

// newServer is a server as the embedded one, without anything of ours.
func newServer(dir string) (*server.Server, error) {
	s, err := server.NewServer(&server.Options{DontListen: true, NoSigs: true, NoLog: true, JetStream: true, StoreDir: dir, SyncAlways: true})
	if err != nil {
		return nil, err
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		return nil, errors.New("the server does not start")
	}
	return s, nil
}
