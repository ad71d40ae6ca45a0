package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/node-executor/executor"
	"github.com/reroot-dev/reroot/node-executor/executor/ledger"
	"github.com/reroot-dev/reroot/node-executor/host"
	"github.com/reroot-dev/reroot/node-executor/step"
	"github.com/reroot-dev/reroot/node-executor/watchdog"
)

// Ledger is the name of the ledger's file in the state directory.
const Ledger = "ledger"

// Link is how the executor reaches the journal, see package link.
type Link interface {
	executor.Commands
	executor.Facts
	executor.Progress
}

// New returns the executor of this node.
func New(c Config, link Link, log *slog.Logger) (*executor.Executor, error) {
	l, err := ledger.Open(ledger.File(filepath.Join(StateDir, Ledger)))
	if err != nil {
		return nil, err
	}
	dog := watchdog.Dir(StateDir)
	return executor.New(executor.Options{
		Cluster: c.Cluster, Ledger: l, Plans: step.All(parts(c, log)), Machine: machine{host.New(host.Options{})},
		Watchdog: dog.Read, Commands: link, Facts: link, Progress: link, Now: time.Now, Log: log,
	}), nil
}

// parts are what the steps work with on this node.
func parts(c Config, log *slog.Logger) step.Node {
	h := host.New(host.Options{})
	return step.Node{
		Host: h, Units: h, Watchdog: watchdog.Dir(StateDir),
		Seeds:        seeds{host: h, registry: c.Registry},
		Images:       images{registry: c.Registry, store: c.Containers},
		Secrets:      secrets{kubeconfig: c.Kubeconfig, own: c.Registry.AuthFile},
		Site:         snapshot{config: c},
		Crypto:       regeneration{config: c, host: h, log: log},
		API:          apiServer{kubeconfig: c.Kubeconfig},
		CheckProgram: func() error { return CheckProgram(StateDir) },
		UpdateTrust:  trust{program: updateTrust, host: h, log: log}.update,
		State:        StateDir, Boot: "/boot", Etc: "/etc", Run: "/run", Gated: c.Gated,
	}
}

// machine is where the executor runs.
type machine struct{ *host.Host }

// Booted is the deployment that runs.
func (m machine) Booted(ctx context.Context) (events.Deployment, error) {
	d, err := m.Host.Booted(ctx)
	return deployment(d), err
}

// Reset reboots at once, without any shutdown.
func (m machine) Reset() error {
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART); err != nil {
		return fmt.Errorf("cannot reset the machine: %w", err)
	}
	return nil
}

func deployment(d host.Deployment) events.Deployment {
	return events.Deployment{Stateroot: d.Stateroot, Commit: d.Commit, Serial: d.Serial}
}

// Watch runs the watchdog of this node until the booted root is confirmed.
func Watch(ctx context.Context, log *slog.Logger) error {
	if err := MakeWritable(); err != nil {
		return err
	}
	h := host.New(host.Options{})
	if err := h.MakeSysrootWritable(); err != nil {
		log.Error("going on without a writable sysroot", "error", err) // libostree makes its own mount
	}
	return watchdog.Dir(StateDir).Watch(ctx, machine{h}, log)
}

// identityPoll is how often [AwaitIdentity] looks.
const identityPoll = 200 * time.Millisecond

// AwaitIdentity returns when the booted root has the site's identity, and announces it in /run for whoever else waits.
func AwaitIdentity(ctx context.Context) error {
	here, err := machine{host.New(host.Options{})}.Booted(ctx)
	if err != nil {
		return err
	}
	tick := time.NewTicker(identityPoll)
	defer tick.Stop()
	for {
		has, err := step.StateDir(StateDir).HasIdentity(here)
		if err != nil {
			return err
		}
		if has {
			return step.Ready("/run")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// MakeWritable makes the state directory writable in this process's mount namespace: on a node whose /sysroot is
// read-only, so is a bind mount of a directory below it.
func MakeWritable() error {
	var st unix.Statfs_t
	if err := unix.Statfs(StateDir, &st); err != nil {
		return fmt.Errorf("cannot use the state directory: %w", err)
	}
	if st.Flags&unix.ST_RDONLY == 0 {
		return nil
	}
	if err := unix.Mount("", StateDir, "", unix.MS_REMOUNT|unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("cannot make the state directory writable: %w", err)
	}
	return nil
}

func readLedger(state string) (ledger.State, error) {
	return ledger.Read(ledger.File(filepath.Join(state, Ledger)))
}

// Status is what the state directory says: the ledger's state and, when armed, the watchdog's record.
type Status struct {
	Ledger   ledger.State     `json:"ledger"`
	Watchdog *watchdog.Record `json:"watchdog,omitempty"`
}

// ReadStatus reads the state directory without changing it.
func ReadStatus() (Status, error) {
	s, err := readLedger(StateDir)
	if err != nil {
		return Status{}, err
	}
	status := Status{Ledger: s}
	r, err := watchdog.Dir(StateDir).Read()
	switch {
	case err == nil:
		status.Watchdog = &r
	case !errors.Is(err, watchdog.ErrUnarmed) && !errors.Is(err, os.ErrNotExist): // no lock yet: never armed
		return status, err
	}
	return status, nil
}
