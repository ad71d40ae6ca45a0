package step

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/reroot-dev/reroot/deploy/node"
	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/node-executor/step/etc"
	"github.com/reroot-dev/reroot/node-executor/watchdog"
)

// pivot boots the new deployment. Until set-default nothing has changed that the running root could notice. The ledger
// is the marker of where it came from and where it goes; after the reboot the executor's engine reads it and decides.
func pivot(n Node) Plan {
	return Plan{
		Otherwise: events.ReasonPivotFailed,
		Steps: []Step{
			{Name: "check-program", Do: func(context.Context, *Task) error { return n.CheckProgram() }},
			{Name: "check-target", Do: n.checkTarget},
			{Name: "collect-site", Do: n.collectSite, Undo: n.forgetSite},
			{Name: "write-units", Do: n.writeUnits, Undo: n.removeUnits},
			{Name: "write-site", Do: n.writeSite},
			{Name: "arm-watchdog", Do: n.armWatchdog, Undo: n.disarmWatchdog},
			{Name: "set-default", Do: n.defaultTarget, Undo: n.defaultFrom},
			{Name: Reboot, Do: n.rebootTarget},
		},
	}
}

// checkTarget finds the deployment that seedpull reported and the files that a boot loader needs of it.
func (n Node) checkTarget(ctx context.Context, t *Task) error {
	c, err := Command[events.PivotRequested](t)
	if err != nil {
		return err
	}
	d, err := n.Host.Find(ctx, c.Target.Stateroot, c.Target.Commit, c.Target.Serial)
	if err != nil {
		return err
	}
	for what, file := range map[string]string{"kernel": d.Boot.Linux, "initial ramdisk": d.Boot.Initrd} {
		// Entries name files relative to the boot file system, which may or may not be mounted at /boot.
		full := filepath.Join(n.Boot, strings.TrimPrefix(filepath.Clean("/"+file), "/boot"))
		if st, err := os.Stat(full); err != nil || !st.Mode().IsRegular() || st.Size() == 0 {
			return fmt.Errorf("cannot boot %s: its %s is not at %s", d.ID(), what, full)
		}
	}
	if st, err := os.Stat(filepath.Join(d.Path, "etc")); err != nil || !st.IsDir() {
		return fmt.Errorf("cannot boot %s: it has no /etc", d.ID())
	}
	return nil
}

func (n Node) collectSite(ctx context.Context, t *Task) error {
	c, err := Command[events.PivotRequested](t)
	if err != nil {
		return err
	}
	// An identity that an earlier attempt left must not open the gate of this one.
	if err := n.State.clearIdentity(); err != nil {
		return err
	}
	if err := n.reachAPI(ctx, t); err != nil {
		return err
	}
	return n.Site.Collect(ctx, c.Carry)
}

func (n Node) forgetSite(context.Context, *Task) error { return n.Site.Forget() }

// writeUnits puts our units into the new deployment, enabled, gates what must wait for the site's identity, and masks
// what a seed of the lifecycle-agent would start. Whatever the seed has at these paths is overridden.
func (n Node) writeUnits(ctx context.Context, t *Task) error {
	return n.writeTarget(ctx, t, newRootUnits(n.Gated))
}

func (n Node) removeUnits(ctx context.Context, t *Task) error {
	dir, err := n.targetEtc(ctx, t)
	if err != nil {
		return err
	}
	var paths []string
	for _, f := range newRootUnits(n.Gated) {
		paths = append(paths, f.Path)
	}
	return etc.Remove(dir, paths...)
}

// writeSite gives the new deployment the node's host name, network connections and other files of /etc before it boots.
func (n Node) writeSite(ctx context.Context, t *Task) error {
	files, err := n.Site.EtcFiles()
	if err != nil {
		return err
	}
	return n.writeTarget(ctx, t, files)
}

func (n Node) writeTarget(ctx context.Context, t *Task, files []etc.File) error {
	dir, err := n.targetEtc(ctx, t)
	if err != nil {
		return err
	}
	labels, err := etc.ReadLabels(dir)
	if err != nil {
		return err
	}
	return etc.Write(dir, labels, files...)
}

// targetEtc is the /etc of the deployment that the command names, made writable.
func (n Node) targetEtc(ctx context.Context, t *Task) (string, error) {
	c, err := Command[events.PivotRequested](t)
	if err != nil {
		return "", err
	}
	d, err := n.Host.Find(ctx, c.Target.Stateroot, c.Target.Commit, c.Target.Serial)
	if err != nil {
		return "", err
	}
	return filepath.Join(d.Path, "etc"), n.Host.MakeSysrootWritable()
}

func (n Node) armWatchdog(_ context.Context, t *Task) error {
	c, err := Command[events.PivotRequested](t)
	if err != nil {
		return err
	}
	return n.Watchdog.Arm(t.From, c.Target, time.Duration(c.BudgetSeconds)*time.Second)
}

func (n Node) disarmWatchdog(context.Context, *Task) error { return n.Watchdog.Disarm() }

func (n Node) defaultTarget(ctx context.Context, t *Task) error {
	c, err := Command[events.PivotRequested](t)
	if err != nil {
		return err
	}
	return n.setDefault(ctx, c.Target)
}

func (n Node) defaultFrom(ctx context.Context, t *Task) error { return n.setDefault(ctx, t.From) }

// setDefault changes the boot order, whatever state the watchdog's record is in.
func (n Node) setDefault(ctx context.Context, d events.Deployment) error {
	return n.Watchdog.Guard(func(watchdog.Record, error) error {
		return n.Host.SetDefault(ctx, d.Stateroot, d.Commit, d.Serial)
	})
}

func (n Node) rebootTarget(ctx context.Context, t *Task) error {
	return n.reboot(ctx, "reroot boots the new root for upgrade "+t.Upgrade)
}

func (n Node) reboot(ctx context.Context, message string) error {
	if err := n.Host.Reboot(ctx, message); err != nil {
		return err
	}
	return ErrRebooting
}

// unitDir is the administrator's directory of systemd units, relative to /etc.
const unitDir = "systemd/system"

// gateFile is the name of our drop-in.
const gateFile = "10-reroot-identity.conf"

// InstallUnits writes the executor's units into an /etc, enabled: what a root needs before its first upgrade.
func InstallUnits(dir string) error {
	labels, err := etc.ReadLabels(dir)
	if err != nil {
		return err
	}
	return etc.Write(dir, labels, unitFiles(node.Mount, node.Executor)...)
}

func newRootUnits(gated []string) []etc.File {
	files := unitFiles(node.Mount, node.Executor, node.Watchdog, node.Identity)
	for _, unit := range gated {
		files = append(files, etc.File{Path: gatePath(unit), Data: node.Gate(), Mode: 0o644})
	}
	for _, unit := range node.Foreign {
		files = append(files, etc.File{Path: path.Join(unitDir, unit), Link: "/dev/null"})
	}
	return files
}

func gatePath(unit string) string { return path.Join(unitDir, unit+".d", gateFile) }

// unitFiles are units and the links that enable them.
func unitFiles(names ...string) []etc.File {
	var files []etc.File
	for _, name := range names {
		files = append(files, etc.File{Path: path.Join(unitDir, name), Data: node.Unit(name), Mode: 0o644})
		for _, target := range node.WantedBy(name) {
			files = append(files, etc.File{Path: path.Join(unitDir, target+".wants", name), Link: "../" + name})
		}
	}
	return files
}

// removeGate removes what has units of the booted root wait, and the units that only an upgrade needs.
func (n Node) removeGate(ctx context.Context) error {
	var paths []string
	for _, unit := range n.Gated {
		paths = append(paths, gatePath(unit))
	}
	for _, f := range unitFiles(node.Watchdog, node.Identity) {
		paths = append(paths, f.Path)
	}
	gone := true
	for _, p := range paths {
		if _, err := os.Lstat(filepath.Join(n.Etc, p)); !errors.Is(err, fs.ErrNotExist) {
			gone = false
		}
	}
	if gone {
		return nil
	}
	if err := etc.Remove(n.Etc, paths...); err != nil {
		return err
	}
	return n.Units.DaemonReload(ctx)
}
