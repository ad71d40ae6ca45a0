package sandbox

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxBootLog bounds the record of boots that a machine counts on at its start.
const maxBootLog = 64 << 20

// ErrRunning says that another supervisor runs the machine.
var ErrRunning = errors.New("machine is running already")

// ErrTooManyBoots says that the machine would have booted more often than Config.MaxBoots.
var ErrTooManyBoots = errors.New("too many boots")

// Boot is one line of boots.ndjson in the machine's state directory, written when the boot loader has chosen.
type Boot struct {
	// Number counts from 1 over the machine's life, also over restarts of the supervisor.
	Number int    `json:"boot"`
	BootID string `json:"bootid"`
	// Entry is the boot loader entry's file name without ".conf".
	Entry string `json:"entry"`
	// Deployment is the directory below the sysroot.
	Deployment string    `json:"deployment"`
	Started    time.Time `json:"started"`
}

// Status is what the machine is doing.
type Status struct {
	Boot
	// PID is the host's number of the node's PID 1; 0 while no root is running.
	PID int `json:"pid"`
	// Ready says that the boot has reached its default target.
	Ready bool `json:"ready"`
	// ReadyAfter is the time from the boot loader's choice to there, in nanoseconds.
	ReadyAfter time.Duration `json:"readyAfter,omitempty"`
}

// machine is the supervisor of one node.
type machine struct {
	config Config
	loader BootLoader
	log    *slog.Logger
	cgroup cgroup

	mu      sync.Mutex
	status  Status
	node    *node
	changed chan struct{}
}

// Run runs the machine until the node powers itself off, which is no error, the context ends, which cuts its power,
// or a boot fails. Every process and mount of the node is gone when it returns.
func Run(ctx context.Context, config Config, loader BootLoader, log *slog.Logger) error {
	if err := config.validate(); err != nil {
		return fmt.Errorf("cannot use configuration: %w", err)
	}
	m := &machine{config: config, loader: loader, log: log.With("machine", config.Name), changed: make(chan struct{})}
	if err := os.MkdirAll(m.scratch(), 0o700); err != nil {
		return fmt.Errorf("cannot create state directory: %w", err)
	}
	lock, err := lockState(config.State)
	if err != nil {
		return err
	}
	defer lock.Close()
	if m.cgroup, err = nodeCgroup(config); err != nil {
		return err
	}
	// A node whose supervisor was killed may not be quite dead yet; two of them would share the disk.
	if err := m.cgroup.remove(); err != nil {
		return err
	}
	if m.status.Number, err = countBoots(m.bootLog()); err != nil {
		return err
	}
	stop, err := m.serveControl()
	if err != nil {
		return err
	}
	defer stop()
	return m.run(ctx)
}

func (m *machine) scratch() string { return filepath.Join(m.config.State, "root") }
func (m *machine) bootLog() string { return filepath.Join(m.config.State, "boots.ndjson") }

// run boots until something other than a reboot ends a boot.
func (m *machine) run(ctx context.Context) error {
	for boots := 1; ; boots++ {
		if m.config.MaxBoots > 0 && boots > m.config.MaxBoots {
			return fmt.Errorf("cannot boot %s again: %w", m.config.Name, ErrTooManyBoots)
		}
		var end outcome
		err := onOneThread(func() (err error) {
			end, err = m.boot(ctx)
			return err
		})
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot boot %s: %w", m.config.Name, err)
		}
		m.log.Info("boot has ended", "by", string(end))
		if end == poweredOff || end == killed && m.config.OnKill == OnKillExit {
			return nil
		}
	}
}

// boot is one boot, from the boot loader to the end of PID 1.
func (m *machine) boot(ctx context.Context) (outcome, error) {
	started := time.Now()
	c, err := choose(m.loader, m.config.Sysroot)
	if err != nil {
		return "", err
	}
	boot := Boot{
		Number: m.status.Number + 1, BootID: newBootID(), Entry: c.entry.ID, Deployment: c.deployment, Started: started.UTC(),
	}
	if err := appendLine(m.bootLog(), boot); err != nil {
		return "", err
	}
	m.set(Status{Boot: boot}, nil)
	file, err := os.OpenFile(m.config.Console, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return "", fmt.Errorf("cannot open console file: %w", err)
	}
	defer file.Close()
	console, err := openConsole(file)
	if err != nil {
		return "", err
	}
	defer console.close()
	n, err := m.start(ctx, c, boot.BootID, console)
	if err != nil {
		return "", fmt.Errorf("entry %s: %w", c.entry.ID, err)
	}
	status := Status{Boot: boot, PID: n.cmd.Process.Pid}
	m.set(status, n)
	m.log.Info("booted", "boot", boot.Number, "entry", boot.Entry, "deployment", boot.Deployment, "bootid", boot.BootID)

	var listening sync.WaitGroup
	listening.Go(func() {
		n.listen(func() {
			status.Ready, status.ReadyAfter = true, time.Since(started)
			m.set(status, n)
		})
	})
	end, err := n.wait()
	listening.Wait()
	m.set(Status{Boot: boot}, nil)
	return end, err
}

// set changes what the machine is doing and wakes who waits for it.
func (m *machine) set(status Status, n *node) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.status, m.node = status, n
	close(m.changed)
	m.changed = make(chan struct{})
}

// get returns what the machine is doing, the running node or nil, and a channel that is closed at the next change.
func (m *machine) get() (Status, *node, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.status, m.node, m.changed
}

// lockState makes sure that one supervisor at a time runs the machine; the kernel drops the lock of a dead one.
func lockState(dir string) (io.Closer, error) {
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open lock file: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = file.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrRunning
		}
		return nil, fmt.Errorf("cannot lock %s: %w", dir, err)
	}
	return file, nil
}

// countBoots returns the number of boots on record.
func countBoots(name string) (int, error) {
	file, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("cannot read record of boots: %w", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxBootLog))
	if err != nil {
		return 0, fmt.Errorf("cannot read record of boots: %w", err)
	}
	return bytes.Count(data, []byte("\n")), nil
}

func appendLine(name string, boot Boot) error {
	line, err := json.Marshal(boot)
	if err != nil {
		return fmt.Errorf("cannot encode boot: %w", err)
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("cannot open record of boots: %w", err)
	}
	_, err = file.Write(append(line, '\n'))
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("cannot record boot: %w", err)
	}
	return nil
}

// newBootID returns a random UUID (RFC 9562, version 4), as the kernel makes one at each boot.
func newBootID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // it never fails
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[0:4], id[4:6], id[6:8], id[8:10], id[10:])
}
