package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
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
	dir    string
	files  os.FileInfo // of dir, when it was opened
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
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	log := &serverLog{log: opts.Log}
	s.SetLoggerV2(log, false, false, false)
	s.Start()
	e := &Embedded{server: s}
	if err := ready(s, log); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot start the embedded server: %w", spaceError(err)), e.Close())
	}
	config := s.JetStreamConfig()
	if !config.SyncAlways {
		return nil, errors.Join(ErrNotDurable, e.Close())
	}
	e.dir = config.StoreDir
	if e.files, err = os.Stat(e.dir); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot find the journal's files: %w", err), e.Close())
	}
	if e.nc, err = nats.Connect("", nats.InProcessServer(s), nats.Name("reroot"), nats.MaxReconnects(-1)); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot connect to the embedded server: %w", err), e.Close())
	}
	opts.Synced = true
	if e.JetStream, err = Open(ctx, e.nc, opts.Options); err != nil {
		return nil, errors.Join(spaceError(err), e.Close())
	}
	return e, nil
}

// ready waits until the server takes connections or has said why it never will.
func ready(s *server.Server, log *serverLog) error {
	const limit, step = 30 * time.Second, 100 * time.Millisecond
	for waited := time.Duration(0); waited < limit; waited += step {
		if why := log.fatal.Load(); why != nil {
			return errors.New(*why)
		}
		if s.ReadyForConnections(step) {
			return nil
		}
	}
	return fmt.Errorf("it is not ready after %s", limit)
}

// Health says why nothing more can be stored, [ErrNoSpace] for example; nil while nothing is known to be wrong. A
// stream whose write failed once takes nothing more, even when there is room again, until the store was closed and
// opened; whoever appends to it only gets no answer.
func (e *Embedded) Health() error {
	if files, err := os.Stat(e.dir); err != nil || !os.SameFile(files, e.files) {
		return fmt.Errorf("cannot store: the journal's files are not in %s any more", e.dir)
	}
	for _, problem := range e.server.Healthz(&server.HealthzOptions{Details: true}).Errors {
		// Whether it takes connections the server gives itself one millisecond to find out.
		if problem.Type != server.HealthzErrorConn {
			return spaceError(fmt.Errorf("cannot store: %s", problem.Error))
		}
	}
	return nil
}

// spaceError makes an [ErrNoSpace] of the server's text for it.
func spaceError(err error) error {
	if strings.Contains(err.Error(), syscall.ENOSPC.Error()) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
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

// serverLog passes on what the server has to say to an operator. A server that cannot start says so here, and only here.
type serverLog struct {
	log   *slog.Logger
	fatal atomic.Pointer[string] // why it cannot start
}

func (l *serverLog) Noticef(string, ...any)       {}
func (l *serverLog) Debugf(string, ...any)        {}
func (l *serverLog) Tracef(string, ...any)        {}
func (l *serverLog) Warnf(f string, args ...any)  { l.log.Warn(fmt.Sprintf(f, args...)) }
func (l *serverLog) Errorf(f string, args ...any) { l.log.Error(fmt.Sprintf(f, args...)) }
func (l *serverLog) Fatalf(f string, args ...any) {
	why := fmt.Sprintf(f, args...)
	l.fatal.Store(&why)
}
