package etcd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// ErrVersion marks a data directory that no given program may open. An etcd of a newer minor raises the
// directory's version for good, after which the node's own etcd refuses it.
var ErrVersion = errors.New("no etcd of the data directory's minor version")

// Deadlines of the program.
const (
	startTimeout = time.Minute
	stopTimeout  = 30 * time.Second
	callSize     = 256 << 20 // bytes of the largest answer
	quota        = "8589934592"
	// etcd insists on advertising a host and port; nobody follows it.
	advertisedURL = "http://127.0.0.1:2379"
)

// Runner starts programs.
type Runner interface {
	// Start starts a program that runs until it is stopped. It ends with this process.
	Start(ctx context.Context, program string, args []string) (Process, error)
}

// Process is a running program.
type Process interface {
	// Exited is closed when the program has ended.
	Exited() <-chan struct{}
	// Stop asks the program to end and waits until it has; the error says that it ended badly or, when
	// the context is over, had to be killed.
	Stop(ctx context.Context) error
}

// DataDir opens an etcd data directory by a program of its own minor version, as it is: the same
// single member, no TLS, reachable by a socket in a directory of its own and by nothing else. Only the member's
// published name and client URLs change, and those every start of an etcd publishes anew.
type DataDir struct {
	Dir      string            // the one that holds member/
	Programs map[string]string // minor version, such as 3.5, to the path of an etcd
	Runner   Runner
}

// Open starts the etcd and waits until it serves.
func (d DataDir) Open(ctx context.Context) (*clientv3.Client, func() error, error) {
	minor, err := Minor(filepath.Join(d.Dir, "member", "snap", "db"))
	if err != nil {
		return nil, nil, err
	}
	program, ok := d.Programs[minor]
	if !ok {
		return nil, nil, fmt.Errorf("cannot open data directory of etcd %s: %w", minor, ErrVersion)
	}
	sockets, err := os.MkdirTemp("", "reroot-etcd-")
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make directory for sockets: %w", err)
	}
	clientURL, peerURL := "unix://"+filepath.Join(sockets, "client"), "unix://"+filepath.Join(sockets, "peer")
	process, err := d.Runner.Start(ctx, program, []string{
		"--data-dir", d.Dir,
		"--listen-client-urls", clientURL, "--advertise-client-urls", advertisedURL,
		"--listen-peer-urls", peerURL,
		"--quota-backend-bytes", quota, "--log-level", "error",
	})
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("cannot start etcd %s: %w", minor, err), os.RemoveAll(sockets))
	}
	stop := func() error {
		// Also when ctx is over: an etcd left behind would lock the directory.
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		return errors.Join(process.Stop(stopping), os.RemoveAll(sockets))
	}
	client, err := connect(ctx, clientURL, process, minor)
	if err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	return client, func() error { return errors.Join(client.Close(), stop()) }, nil
}

// connect waits until the etcd answers and checks that it is what it was taken for.
func connect(ctx context.Context, url string, process Process, minor string) (*clientv3.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	go func() {
		select {
		case <-process.Exited():
			cancel()
		case <-ctx.Done():
		}
	}()
	client, err := dial(clientv3.Config{Endpoints: []string{url}})
	if err != nil {
		return nil, err
	}
	for {
		status, err := client.Status(ctx, url)
		switch {
		case err == nil && !strings.HasPrefix(status.Version, minor+"."):
			return nil, errors.Join(fmt.Errorf("cannot use etcd %s for a data directory of %s: %w", status.Version, minor, ErrVersion), client.Close())
		case err == nil && status.Leader != 0:
			return client, nil
		case ctx.Err() != nil:
			return nil, errors.Join(fmt.Errorf("cannot wait for etcd %s: ended or too slow: %w", minor, errors.Join(ctx.Err(), err)), client.Close())
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func dial(config clientv3.Config) (*clientv3.Client, error) {
	config.MaxCallRecvMsgSize = callSize
	config.DialTimeout = startTimeout
	config.Logger = zap.NewNop() // errors are returned; the client would print them as well
	config.Endpoints = slices.Clone(config.Endpoints)
	client, err := clientv3.New(config)
	if err != nil {
		return nil, fmt.Errorf("cannot connect to etcd: %w", err)
	}
	return client, nil
}

// Endpoint opens an etcd that is running already. It must belong to the node alone.
type Endpoint struct{ Config clientv3.Config }

// Open connects.
func (e Endpoint) Open(ctx context.Context) (*clientv3.Client, func() error, error) {
	e.Config.Context = ctx
	client, err := dial(e.Config)
	if err != nil {
		return nil, nil, err
	}
	return client, client.Close, nil
}
