package host_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/reroot-dev/reroot/node-executor/host"
	"github.com/reroot-dev/reroot/node-executor/host/hosttest"
	labostree "github.com/reroot-dev/reroot/test/lab/ostree"
)

// bootedVariable makes the test binary a process inside of a deployment that libostree takes for booted.
const bootedVariable = "REROOT_TEST_BOOTED"

// booted describes the system that such a process is to enter.
type booted struct {
	Sysroot, Rootfs string
	Old, New        host.Deployment
}

func TestMain(m *testing.M) {
	if text, ok := os.LookupEnv(bootedVariable); ok {
		var b booted
		err := json.Unmarshal([]byte(text), &b)
		if err == nil {
			err = b.enter()
		}
		if err == nil {
			err = b.check()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// The running host: ostree without --sysroot, /boot beside /sysroot, and /sysroot mounted read-only.
func TestBooted(t *testing.T) {
	s := hosttest.New(t)
	if filepath.Dir(s.Dir) != "/dev/shm" {
		t.Skip("ostree freezes the file system of /boot for a moment, which has to be one that knows no freezing")
	}
	old := s.MustDeploy(t, "okd", s.Commit(t, "4.16.0", nil))
	next := s.MustDeploy(t, "new", s.Commit(t, "4.17.0", nil))
	rootfs, err := labostree.Rootfs(t.Context(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(booted{Sysroot: s.Dir, Rootfs: rootfs, Old: old, New: next})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), bootedVariable+"="+string(text))
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL,
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	wantIDs(t, s.Host, "new 4.17.0", "okd 4.16.0")
}

// enter makes the old deployment the root, as an initial ramdisk does.
func (b booted) enter() error {
	root := b.Old.Path
	at := func(name string) string { return filepath.Join(root, name) }
	for _, m := range []struct {
		from, to, kind string
		flags          uintptr
	}{
		{"", "/", "", unix.MS_REC | unix.MS_PRIVATE},
		{root, root, "", unix.MS_BIND},
		{b.Sysroot, at("sysroot"), "", unix.MS_BIND},
		{"", at("sysroot"), "", unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY | unix.MS_NODEV},
		{filepath.Join(b.Sysroot, "boot"), at("boot"), "", unix.MS_BIND},
		{"/dev", at("dev"), "", unix.MS_BIND},
		{"proc", at("proc"), "proc", 0},
		{"tmpfs", at("run"), "tmpfs", 0},
	} {
		if err := unix.Mount(m.from, m.to, m.kind, m.flags, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.to, err)
		}
	}
	if err := os.WriteFile(at("run/ostree-booted"), nil, 0o644); err != nil {
		return err
	}
	if err := os.Mkdir(at("run/rootfs"), 0o755); err != nil {
		return err
	}
	if err := unix.Mount(b.Rootfs, at("run/rootfs"), "", unix.MS_BIND, ""); err != nil {
		return err
	}
	if err := unix.Chroot(root); err != nil {
		return err
	}
	return os.Chdir("/")
}

// check runs inside of the old deployment.
func (b booted) check() error {
	const lib = "/run/rootfs/usr/lib/x86_64-linux-gnu"
	h := host.New(host.Options{Ostree: []string{lib + "/ld-linux-x86-64.so.2", "--library-path", lib, "/run/rootfs/usr/bin/ostree"}})
	ctx, done := context.WithTimeout(context.Background(), time.Minute)
	defer done()
	d, err := h.Booted(ctx)
	if err != nil || !d.Is(b.Old.Stateroot, b.Old.Commit, b.Old.Serial) || d.Index != 0 {
		return fmt.Errorf("booted is %+v, %w", d, err)
	}
	if err := h.CheckBootable(d); err != nil {
		return err
	}
	if err := h.SetDefault(ctx, b.New.Stateroot, b.New.Commit, b.New.Serial); err != nil {
		return err
	}
	if d, err = h.Booted(ctx); err != nil || d.Index != 1 {
		return fmt.Errorf("after the switch booted is %+v, %w", d, err)
	}
	if err := h.Undeploy(ctx, d.Stateroot, d.Commit, d.Serial); !errors.Is(err, host.ErrBooted) {
		return fmt.Errorf("undeploying the booted deployment: %w", err)
	}
	if err := h.RemoveStateroot(ctx, d.Stateroot); !errors.Is(err, host.ErrBooted) {
		return fmt.Errorf("removing the booted stateroot: %w", err)
	}
	probe := filepath.Join(h.Stateroot("new"), "var/probe")
	if err := os.WriteFile(probe, nil, 0o600); !errors.Is(err, unix.EROFS) {
		return fmt.Errorf("writing to a read-only sysroot: %w", err)
	}
	for range 2 {
		if err := h.MakeSysrootWritable(); err != nil {
			return err
		}
	}
	var st unix.Statfs_t
	if err := unix.Statfs("/sysroot", &st); err != nil || st.Flags&unix.ST_NODEV == 0 {
		return fmt.Errorf("the remount dropped nodev: %w", err)
	}
	return os.WriteFile(probe, nil, 0o600)
}
