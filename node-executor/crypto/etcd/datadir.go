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
	"google.golang.org/grpc"
)

// ErrVersion marks a data directory that no given program may open. An etcd of a newer minor raises the
// directory's version for good, after which the node's own etcd refuses it.
var ErrVersion = errors.New("no etcd of the data directory's minor version")

// Deadlines of the program.
const (
	startTimeout = time.Minute
	// answerTimeout is for one that should be running.
	answerTimeout = 15 * time.Second
	stopTimeout   = 30 * time.Second
	callSize      = 256 << 20 // bytes of the largest call or answer
	windowSize    = 16 << 20  // bytes that are sent ahead
	// startPoll is how often a program that is starting is looked at.
	startPoll = 10 * time.Millisecond
	quota     = "8589934592"
	// A snapshot after every second entry, so that there is one of this start: see forgetLog.
	snapshotCount = "1"
	// The only member need not wait for others before it leads, but waits as long as it would: a second, by default.
	heartbeatMillis, electionMillis = "10", "50"
	// etcd insists on advertising a host and port; nobody follows it.
	advertisedURL = "http://127.0.0.1:2379"
	// Nobody else is served, so that requests may be large: each transaction is synced by itself.
	maxOperations, maxRequestBytes = "10000", "16777216"
	// The history is dropped in one go: between batches etcd rests, for those whom it serves meanwhile.
	compactionBatch = "1000000000"
	unixScheme      = "unix://"
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
	// CopyTo, when set, is a directory in which a copy of Dir is made and opened in its place. An etcd writes to its
	// log as soon as it starts, and whoever only wants to read may not even want that. Closing removes the copy.
	CopyTo string
}

// Directory implements [Opener].
func (d DataDir) Directory() string { return d.Dir }

// Bounds implements [Opener].
func (d DataDir) Bounds() Bounds { return Bounds{Operations: 4000, Bytes: 8 << 20} }

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
	if d.CopyTo != "" {
		return d.openCopy(ctx)
	}
	return d.open(ctx, minor, program)
}

// openCopy opens a copy of the directory.
func (d DataDir) openCopy(ctx context.Context) (*clientv3.Client, func() error, error) {
	dir, err := os.MkdirTemp(d.CopyTo, "reroot-etcd-")
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make directory for a copy of %s: %w", d.Dir, err)
	}
	remove := func() error { return os.RemoveAll(dir) }
	if err := os.CopyFS(dir, os.DirFS(d.Dir)); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("cannot copy %s: %w", d.Dir, err), remove())
	}
	client, stop, err := DataDir{Dir: dir, Programs: d.Programs, Runner: d.Runner}.Open(ctx)
	if err != nil {
		return nil, nil, errors.Join(err, remove())
	}
	return client, func() error { return errors.Join(stop(), remove()) }, nil
}

func (d DataDir) open(ctx context.Context, minor, program string) (*clientv3.Client, func() error, error) {
	sockets, err := os.MkdirTemp("", "reroot-etcd-")
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make directory for sockets: %w", err)
	}
	socket := filepath.Join(sockets, "client")
	process, err := d.Runner.Start(ctx, program, []string{
		"--data-dir", d.Dir,
		"--listen-client-urls", unixScheme + socket, "--advertise-client-urls", advertisedURL,
		"--listen-peer-urls", unixScheme + filepath.Join(sockets, "peer"),
		"--quota-backend-bytes", quota, "--snapshot-count", snapshotCount,
		"--heartbeat-interval", heartbeatMillis, "--election-timeout", electionMillis, "--log-level", "error",
		"--max-txn-ops", maxOperations, "--max-request-bytes", maxRequestBytes, compactionFlag(minor), compactionBatch,
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
	client, err := connect(ctx, socket, process, minor)
	if err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	return client, func() error { return errors.Join(client.Close(), stop()) }, nil
}

// compactionFlag is what an etcd of a minor version calls the number of revisions that it drops at once.
func compactionFlag(minor string) string {
	if minor == "3.5" {
		return "--experimental-compaction-batch-limit"
	}
	return "--compaction-batch-limit"
}

// connect waits until the etcd behind the socket answers and checks that it is what it was taken for.
func connect(ctx context.Context, socket string, process Process, minor string) (*clientv3.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	go func() {
		select {
		case <-process.Exited():
			cancel()
		case <-ctx.Done():
		}
	}()
	tooSlow := func(err error) error {
		return fmt.Errorf("cannot wait for etcd %s: ended or too slow: %w", minor, errors.Join(ctx.Err(), err))
	}
	// A client that comes before the socket tries again only after a second, which would be most of what a start takes.
	for _, err := os.Lstat(socket); err != nil; _, err = os.Lstat(socket) {
		if pause(ctx) != nil {
			return nil, tooSlow(err)
		}
	}
	client, err := dial(clientv3.Config{Endpoints: []string{unixScheme + socket}})
	if err != nil {
		return nil, err
	}
	for {
		status, err := client.Status(ctx, unixScheme+socket)
		switch {
		case err == nil && !strings.HasPrefix(status.Version, minor+"."):
			return nil, errors.Join(fmt.Errorf("cannot use etcd %s for a data directory of %s: %w", status.Version, minor, ErrVersion), client.Close())
		case err == nil && status.Leader != 0:
			return client, nil
		case pause(ctx) != nil:
			return nil, errors.Join(tooSlow(err), client.Close())
		}
	}
}

// pause waits until it is time to look again; an error says that the context is over.
func pause(ctx context.Context) error {
	timer := time.NewTimer(startPoll)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func dial(config clientv3.Config) (*clientv3.Client, error) {
	config.MaxCallRecvMsgSize, config.MaxCallSendMsgSize = callSize, callSize
	// A whole answer is sent without waiting in between: whoever reads it may be busy with making keys.
	config.DialOptions = append(slices.Clone(config.DialOptions), grpc.WithInitialWindowSize(windowSize), grpc.WithInitialConnWindowSize(windowSize))
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

// Forget has etcd write its database anew, without the pages that are free. Its log is its own as long as it runs: it
// forgets as it is filled.
func (e Endpoint) Forget(ctx context.Context, fault func(string) error) (err error) {
	client, stop, err := e.Open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if err := fault("etcd.defragment"); err != nil {
		return err
	}
	for _, endpoint := range client.Endpoints() {
		if _, err := client.Defragment(ctx, endpoint); err != nil {
			return fmt.Errorf("cannot defragment etcd: %w", err)
		}
	}
	return nil
}

// Directory implements [Opener].
func (e Endpoint) Directory() string { return "" }

// Bounds implements [Opener].
func (e Endpoint) Bounds() Bounds { return defaultBounds }

// Open connects, and makes sure that somebody answers.
func (e Endpoint) Open(ctx context.Context) (*clientv3.Client, func() error, error) {
	e.Config.Context = ctx
	client, err := dial(e.Config)
	if err != nil {
		return nil, nil, err
	}
	asking, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if _, err := client.Get(asking, "ready", clientv3.WithKeysOnly()); err != nil {
		err = fmt.Errorf("cannot reach etcd at %s: %w", strings.Join(client.Endpoints(), ", "), err)
		return nil, nil, errors.Join(err, client.Close())
	}
	return client, client.Close, nil
}
