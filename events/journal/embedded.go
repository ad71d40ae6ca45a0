package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// EmbeddedOptions of [OpenEmbedded]. The zero value is a server that only this process can reach.
type EmbeddedOptions struct {
	Options
	// Port on the loopback interface; 0 means that the server does not listen, -1 means any free port.
	Port int
	// MaxBytes bounds the disk space of all streams; 0 means 1 GiB.
	MaxBytes int64
	// Log gets the server's warnings and errors; nil discards them.
	Log *slog.Logger
}

// Embedded is a [JetStream] store with a NATS server of its own, in this process.
type Embedded struct {
	*JetStream
	server *server.Server
	nc     *nats.Conn
}

// OpenEmbedded starts a NATS server that keeps its files in dir and syncs every write, and opens the store on it. The
// directory belongs to one server at a time. Close it.
func OpenEmbedded(ctx context.Context, dir string, opts EmbeddedOptions) (*Embedded, error) {
	if opts.MaxBytes == 0 {
		opts.MaxBytes = 1 << 30
	}
	s, err := server.NewServer(&server.Options{
		ServerName:         "reroot",
		Host:               "127.0.0.1",
		Port:               opts.Port,
		DontListen:         opts.Port == 0,
		JetStream:          true,
		StoreDir:           filepath.Clean(dir),
		SyncAlways:         true,
		JetStreamMaxStore:  opts.MaxBytes,
		JetStreamMaxMemory: 64 << 20,
		MaxPayload:         1 << 20,
		NoSigs:             true,
	})
	if err != nil {
		return nil, fmt.Errorf("cannot configure the embedded server: %w", err)
	}
	if opts.Log != nil {
		s.SetLoggerV2(serverLog{opts.Log}, false, false, false)
	}
	s.Start()
	e := &Embedded{server: s}
	if !s.ReadyForConnections(30 * time.Second) {
		return nil, errors.Join(errors.New("cannot start the embedded server: it is not ready after 30 s"), e.Close())
	}
	if !s.JetStreamConfig().SyncAlways {
		return nil, errors.Join(ErrNotDurable, e.Close())
	}
	if e.nc, err = nats.Connect("", nats.InProcessServer(s), nats.Name("reroot"), nats.MaxReconnects(-1)); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot connect to the embedded server: %w", err), e.Close())
	}
	opts.Synced = true
	if e.JetStream, err = Open(ctx, e.nc, opts.Options); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// URL is where other processes on this machine connect; "" when the server does not listen.
func (e *Embedded) URL() string {
	if e.server.Addr() == nil {
		return ""
	}
	return e.server.ClientURL()
}

// Close ends the connection and the server. Everything acknowledged is on disk already.
func (e *Embedded) Close() error {
	if e.nc != nil {
		e.nc.Close()
	}
	e.server.Shutdown()
	e.server.WaitForShutdown()
	return nil
}

// serverLog passes on what the server has to say to an operator.
type serverLog struct{ log *slog.Logger }

func (l serverLog) Noticef(string, ...any)       {}
func (l serverLog) Debugf(string, ...any)        {}
func (l serverLog) Tracef(string, ...any)        {}
func (l serverLog) Warnf(f string, args ...any)  { l.log.Warn(fmt.Sprintf(f, args...)) }
func (l serverLog) Errorf(f string, args ...any) { l.log.Error(fmt.Sprintf(f, args...)) }
func (l serverLog) Fatalf(f string, args ...any) { l.log.Error(fmt.Sprintf(f, args...)) }
