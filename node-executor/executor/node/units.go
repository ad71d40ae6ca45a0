package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/reroot-dev/reroot/node-executor/crypto/etcd"
	"github.com/reroot-dev/reroot/node-executor/host"
)

// etcdUnit is the transient unit in which an etcd runs while its data directory is worked on.
const etcdUnit = "reroot-etcd.service"

// unitPoll is how often a unit is asked whether it still runs.
const unitPoll = 250 * time.Millisecond

// units implements etcd.Runner by systemd: the program runs in a transient unit, so that it is ended in an orderly way
// and does not outlive the executor's own unit.
type units struct{ host *host.Host }

// Start starts the program. One that an executor left behind when it was killed is stopped first.
func (u units) Start(ctx context.Context, program string, args []string) (etcd.Process, error) {
	if err := u.host.Stop(ctx, etcdUnit); err != nil && !absent(err) {
		return nil, err
	}
	all := append([]string{
		"--unit=" + etcdUnit, "--collect", "--quiet", "--description=etcd of the new root, offline",
		"--property=BindsTo=reroot-node.service",
		"--property=LimitCORE=0", // it holds private keys
		"--", program,
	}, args...)
	if _, err := u.host.Run(ctx, host.Cmd{Name: "systemd-run", Args: all}); err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", program, err)
	}
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	p := &unit{host: u.host, exited: make(chan struct{}), stop: stop}
	go p.watch(watching)
	return p, nil
}

// absent says that an error of systemctl means that there is no such unit.
func absent(err error) bool {
	var exit *host.ExitError
	const noSuchUnit = 5
	return errors.As(err, &exit) && exit.Code == noSuchUnit
}

// unit is a running transient unit.
type unit struct {
	host   *host.Host
	exited chan struct{}
	stop   context.CancelFunc
}

// watch closes exited when the unit has ended, or when nobody wants to know any more.
func (p *unit) watch(ctx context.Context) {
	defer close(p.exited)
	tick := time.NewTicker(unitPoll)
	defer tick.Stop()
	for {
		if active, err := p.host.IsActive(ctx, etcdUnit); err == nil && !active {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Exited implements etcd.Process.
func (p *unit) Exited() <-chan struct{} { return p.exited }

// Stop implements etcd.Process.
func (p *unit) Stop(ctx context.Context) error {
	err := p.host.Stop(ctx, etcdUnit)
	p.stop()
	<-p.exited
	if absent(err) {
		return nil
	}
	return err
}
