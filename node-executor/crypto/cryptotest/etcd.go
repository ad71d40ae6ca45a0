package cryptotest

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/reroot-dev/reroot/node-executor/crypto/etcd"
	"github.com/reroot-dev/reroot/node-executor/host"
	"github.com/reroot-dev/reroot/test/lab/build"
)

// EtcdMinors are the minor versions that tests have a program for.
var EtcdMinors = []string{"3.5", "3.6", "3.7"}

// EtcdPrograms returns etcds by minor version, building them when they are not in the cache.
func EtcdPrograms(t testing.TB) map[string]string {
	t.Helper()
	programs := map[string]string{}
	for _, minor := range EtcdMinors {
		binaries, err := build.Binaries(context.Background(), os.Stderr, "etcd-"+minor)
		if err != nil {
			t.Fatal(err)
		}
		programs[minor] = binaries["etcd-"+minor]
	}
	return programs
}

// Runner runs programs as children of the test.
type Runner struct{}

// Start implements etcd.Runner.
func (Runner) Start(_ context.Context, program string, args []string) (etcd.Process, error) {
	return host.StartChild(host.Cmd{Name: program, Args: args})
}

// ServeEtcd starts an etcd on the directory, calls use with a client and stops it again. It is how a
// test writes a data directory and how it looks at one afterwards, with the node's own program. The context that use gets
// ends when the etcd does.
func ServeEtcd(t testing.TB, program, dir string, use func(context.Context, *clientv3.Client)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	starting := time.AfterFunc(time.Minute, cancel)
	sockets, err := os.MkdirTemp("", "e")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(sockets)
	socket := filepath.Join(sockets, "c")
	url := "unix://" + socket
	p, err := Runner{}.Start(ctx, program, []string{
		"--data-dir", dir, "--listen-client-urls", url, "--advertise-client-urls", "http://127.0.0.1:2379",
		"--listen-peer-urls", "unix://" + filepath.Join(sockets, "p"), "--log-level", "error",
		"--heartbeat-interval", "10", "--election-timeout", "50", // the only member need not wait for others
		"--unsafe-no-fsync", // no test takes the machine's power away
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	// The client waits for a second if it comes before the socket.
	for _, err := os.Lstat(socket); err != nil && ctx.Err() == nil; _, err = os.Lstat(socket) {
		select {
		case <-p.Exited():
			cancel()
		case <-time.After(10 * time.Millisecond):
		}
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{url}, Context: ctx, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	// The first read waits until there is a leader; a dead etcd ends it.
	go func() {
		select {
		case <-p.Exited():
			cancel()
		case <-ctx.Done():
		}
	}()
	if _, err := client.Get(ctx, "ready"); err != nil {
		t.Fatalf("etcd does not serve: %v", err) // stopping it says what it said
	}
	starting.Stop()
	use(ctx, client)
	// Only then does a new directory say of which version it is.
	for _, err := etcd.Minor(filepath.Join(dir, "member", "snap", "db")); err != nil; _, err = etcd.Minor(filepath.Join(dir, "member", "snap", "db")) {
		select {
		case <-ctx.Done():
			t.Fatalf("etcd does not note its version: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
