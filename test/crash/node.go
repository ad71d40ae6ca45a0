package crash

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/node-executor/executor/ledger"
	"github.com/reroot-dev/reroot/node-executor/host"
	"github.com/reroot-dev/reroot/node-executor/step"
	"github.com/reroot-dev/reroot/node-executor/watchdog"
)

// Dir is the directory of a node: its disk and what the machine knows.
type Dir string

// Config says what the node is; it is at node.json.
type Config struct {
	Story  Story             `json:"story"`
	Ostree []string          `json:"ostree"` // the command
	Old    events.Deployment `json:"old"`
	New    events.Deployment `json:"new"` // what the seed's deployment will be
}

// Boot is what the machine does; it is at boot.json.
type Boot struct {
	Number int               `json:"number"`
	Booted events.Deployment `json:"booted"`
}

func (d Dir) path(name string) string { return filepath.Join(string(d), name) }

// Disk is the sysroot.
func (d Dir) Disk() string { return d.path("sysroot") }

// State is the state directory, the same in both roots.
func (d Dir) State() string { return d.path("state") }

// Plan is the fault plan, see package fault.
func (d Dir) Plan() string { return d.path("fault-plan") }

func (d Dir) facts() string    { return d.path("facts") }
func (d Dir) etc() string      { return d.path("etc") }
func (d Dir) run() string      { return d.path("run") }
func (d Dir) goesDown() string { return d.path("goes-down") }

// Ledger is the executor's.
func (d Dir) Ledger() ledger.File { return ledger.File(filepath.Join(d.State(), "ledger")) }

// Watchdog is the watchdog's record.
func (d Dir) Watchdog() watchdog.Dir { return watchdog.Dir(d.State()) }

// Make makes what a node has beside its disk.
func (d Dir) Make(c Config) error {
	for _, dir := range []string{d.State(), d.facts(), d.etc()} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	return d.write("node.json", c)
}

// write stores one of the node's own files as JSON, all or nothing.
func (d Dir) write(name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := os.WriteFile(d.path(name+".new"), b, 0o600); err != nil {
		return err
	}
	return os.Rename(d.path(name+".new"), d.path(name))
}

func read[T any](d Dir, name string) (v T, err error) {
	b, err := os.ReadFile(d.path(name))
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return v, fmt.Errorf("cannot read %s: %w", name, err)
	}
	return v, nil
}

// Safe refuses to go on where a planned reset would reset more than the node.
func (d Dir) Safe() error {
	plan, err := os.ReadFile(d.Plan())
	if err != nil {
		return err
	}
	if bytes.Contains(plan, []byte(" reboot")) && os.Getpid() != 1 {
		return errors.New("cannot follow the fault plan: it resets the machine, and this process is not alone on one")
	}
	return nil
}

// Config reads node.json.
func (d Dir) Config() (Config, error) { return read[Config](d, "node.json") }

// Boot reads boot.json.
func (d Dir) Boot() (Boot, error) { return read[Boot](d, "boot.json") }

// Hub is what the node talks to.
func (d Dir) Hub(c Config) Hub { return Hub{Dir: d.facts(), Story: c.Story, Old: c.Old, New: c.New} }

// Host is the real ostree on the node's disk.
func (d Dir) Host(c Config) *host.Host {
	return host.New(host.Options{Sysroot: d.Disk(), Ostree: c.Ostree})
}

// Machine is the node as executor and watchdog see it.
type Machine struct {
	*host.Host
	Dir
	Down func() // begins to end whatever runs
}

// Booted implements executor.Machine.
func (m Machine) Booted(context.Context) (events.Deployment, error) {
	b, err := m.Boot()
	return b.Booted, err
}

// BootID implements executor.Machine and watchdog.Host.
func (m Machine) BootID() (string, error) {
	b, err := m.Boot()
	return fmt.Sprintf("boot-%d", b.Number), err
}

// Reboot has the machine go down: it is written down, and whatever runs is told to end.
func (m Machine) Reboot(context.Context, string) error {
	err := os.WriteFile(m.goesDown(), nil, 0o600)
	m.Down()
	return err
}

// Reset implements watchdog.Host.
func (m Machine) Reset() error { return m.Reboot(context.Background(), "") }

// GoesDown says whether somebody has asked for a reboot in this boot.
func (d Dir) GoesDown() bool {
	_, err := os.Stat(d.goesDown())
	return err == nil
}

// Next boots the root that is the default.
func (d Dir) Next(ctx context.Context) error {
	c, err := d.Config()
	if err != nil {
		return err
	}
	last, err := d.Boot()
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	root, err := d.Default(ctx, c)
	if err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(d.goesDown()), os.RemoveAll(d.run()), os.Mkdir(d.run(), 0o755)); err != nil {
		return err
	}
	return d.write("boot.json", Boot{Number: last.Number + 1, Booted: root})
}

// Default is the deployment that the boot loader would take.
func (d Dir) Default(ctx context.Context, c Config) (events.Deployment, error) {
	list, err := d.Host(c).Status(ctx)
	if err != nil {
		return events.Deployment{}, err
	}
	if len(list) == 0 {
		return events.Deployment{}, errors.New("cannot boot: there is no deployment")
	}
	return deployment(list[0]), nil
}

func deployment(d host.Deployment) events.Deployment {
	return events.Deployment{Stateroot: d.Stateroot, Commit: d.Commit, Serial: d.Serial}
}

// Node is what the steps of the executor work with.
func (m Machine) Node(c Config) step.Node {
	s := standIn{Dir: m.Dir, config: c, host: m.Host}
	return step.Node{
		Host: m, Units: s, Seeds: s, Images: s, Secrets: s, Site: s, Crypto: s, API: s, Watchdog: m.Watchdog(),
		CheckProgram: func() error { return nil }, UpdateTrust: func(context.Context) error { return nil },
		State: step.StateDir(m.State()), Boot: filepath.Join(m.Disk(), "boot"), Etc: m.etc(), Run: m.run(),
		Gated: []string{"kubelet.service"},
	}
}
