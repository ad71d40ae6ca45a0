package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/oklog/run"
)

const (
	headerLimit = 10 * time.Second
	bodyLimit   = 30 * time.Second
	// drainLimit is how long a call that is being answered may still take when the process has to end.
	drainLimit = 30 * time.Second
)

// serve answers HTTP until ctx ends and the calls that have begun are answered.
func serve(ctx context.Context, port string, handler http.Handler, log *slog.Logger) error {
	listener, err := net.Listen("tcp", net.JoinHostPort("", port))
	if err != nil {
		return fmt.Errorf("cannot listen: %w", err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: headerLimit, ReadTimeout: bodyLimit}
	log.Info("function is ready", "address", listener.Addr().String())
	var g run.Group
	g.Add(func() error { return server.Serve(listener) }, func(error) {})
	ending, end := context.WithCancel(ctx)
	g.Add(func() error {
		<-ending.Done()
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainLimit)
		defer cancel()
		return errors.Join(server.Shutdown(drain), server.Close())
	}, func(error) { end() })
	if err := g.Run(); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("cannot serve: %w", err)
	}
	return nil
}
