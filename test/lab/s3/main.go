// Command s3 is the lab's object store: gofakes3 over one bbolt file, which
// outlives the process as a bucket outlives a cluster. It has no access
// control, so it belongs on a loopback address.
//
// The bolt backend is used because the plain-file one answers NoSuchBucket
// when a prefix is listed before its first object exists (gofakes3 v1.2.0),
// which makes Velero call its backup location unavailable.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3bolt"
	bolt "go.etcd.io/bbolt"
)

const (
	// openTimeout bounds the wait for the file lock of another process.
	openTimeout = 2 * time.Second
	// drainTimeout bounds the wait for requests in flight at the end.
	drainTimeout = 3 * time.Second
)

func main() {
	addr := flag.String("addr", "127.0.0.1:9100", "`address` to serve on")
	file := flag.String("file", "s3.db", "database `file`, created when missing")
	bucket := flag.String("bucket", "velero", "`name` of the bucket to create when missing")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *addr, *file, *bucket); err != nil {
		slog.Error("s3 ended", "err", err)
		os.Exit(1)
	}
}

// run serves until ctx ends, then drains and closes the database.
func run(ctx context.Context, addr, file, bucket string) (err error) {
	db, err := bolt.Open(file, 0o600, &bolt.Options{Timeout: openTimeout})
	if err != nil {
		return fmt.Errorf("cannot open %s: %w", file, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	backend := s3bolt.New(db)
	exists, err := backend.BucketExists(bucket)
	if err == nil && !exists {
		err = backend.CreateBucket(bucket)
	}
	if err != nil {
		return fmt.Errorf("cannot create bucket %s: %w", bucket, err)
	}
	server := &http.Server{Addr: addr, Handler: gofakes3.New(backend).Server(), ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.ListenAndServe() }()
	slog.Info("serving", "addr", addr, "file", file, "bucket", bucket)
	select {
	case err := <-ended:
		return fmt.Errorf("cannot serve on %s: %w", addr, err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if err := server.Shutdown(drain); err != nil {
		return fmt.Errorf("cannot drain requests: %w", err)
	}
	return nil
}
