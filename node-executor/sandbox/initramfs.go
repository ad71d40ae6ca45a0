package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// InitramfsCommand is the program's argument under which [Initramfs] must be called: the supervisor starts its own
// executable with it as PID 1 of a node.
const InitramfsCommand = "initramfs"

// File descriptors that PID 1 starts with, after the three standard ones.
const (
	planFD   = 3
	statusFD = 4
)

// initPath is where nodes look for programs.
const initPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// plan is what firmware and boot loader hand to the initramfs.
type plan struct {
	Sysroot string
	// Deployment and Stateroot are those of the entry; Deployment is a path below Sysroot.
	Deployment, Stateroot string
	Options               string
	BootID                string
	Hostname              string
	Binds                 []Bind
	// Scratch is an empty directory of the host; the root of the initramfs is mounted on it.
	Scratch string
	// Console is the host's terminal that becomes /dev/console.
	Console string
	// Notify is the address at which systemd says that it is ready.
	Notify string
}

// Initramfs runs as PID 1 of a new node: it makes the deployment's root and executes its init, and so returns only if
// that has failed. The supervisor reads the error from the status pipe and, if there is none, that init runs.
func Initramfs() error {
	// What is unshared and entered here belongs to the thread that executes init in the end.
	runtime.LockOSThread()
	unix.CloseOnExec(planFD)
	unix.CloseOnExec(statusFD)
	status := os.NewFile(statusFD, "status")
	var p plan
	err := json.NewDecoder(io.LimitReader(os.NewFile(planFD, "plan"), maxConfigSize)).Decode(&p)
	if err != nil {
		err = fmt.Errorf("cannot read plan: %w", err)
	} else {
		err = p.boot()
	}
	_, _ = io.WriteString(status, err.Error())
	return err
}

// boot does what an initramfs does, in its order.
func (p plan) boot() error {
	if os.Getpid() != 1 {
		return errors.New("not PID 1 of a node")
	}
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("cannot enter cgroup namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("cannot make mounts private: %w", err)
	}
	unix.Umask(0)
	hardware, err := p.attach()
	if err != nil {
		return err
	}
	if err := p.makeRoot(hardware); err != nil {
		return err
	}
	if err := p.makeKernelFiles(hardware); err != nil {
		return err
	}
	if err := prepareRoot(); err != nil {
		return err
	}
	if err := p.switchRoot(); err != nil {
		return err
	}
	if err := hardware.plug(p.Binds); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(p.Hostname)); err != nil {
		return fmt.Errorf("cannot set host name: %w", err)
	}
	// systemd takes its arguments from the command line of PID 1 where "container" is set, and leaves the devices
	// and settings of the host's kernel alone.
	argv := append([]string{"/sbin/init"}, SplitCommandLine(p.Options)...)
	env := []string{"PATH=" + initPath, "container=reroot-sandbox", "NOTIFY_SOCKET=" + p.Notify}
	return fmt.Errorf("cannot execute init: %w", unix.Exec(argv[0], argv, env))
}

// hardware holds detached mounts of what the node gets from the host. They survive the change of root.
type hardware struct {
	disk, usr, sys, console int
	devices                 []int
}

// attach takes hold of the host's directories and files while their paths can still be resolved.
func (p plan) attach() (hardware, error) {
	var h hardware
	for _, source := range []struct {
		fd       *int
		name     string
		readOnly bool
	}{
		{&h.disk, p.Sysroot, false},
		{&h.usr, filepath.Join(p.Sysroot, p.Deployment, "usr"), true},
		{&h.sys, "/sys", true},
		{&h.console, p.Console, false},
	} {
		fd, err := detach(source.name, source.readOnly)
		if err != nil {
			return hardware{}, err
		}
		*source.fd = fd
	}
	for _, bind := range p.Binds {
		fd, err := detach(bind.Source, bind.ReadOnly)
		if err != nil {
			return hardware{}, err
		}
		h.devices = append(h.devices, fd)
	}
	return h, nil
}

// detach clones the mount at name, without what is mounted below it.
func detach(name string, readOnly bool) (int, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, name, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("cannot open mount of %s: %w", name, err)
	}
	if !readOnly {
		return fd, nil
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return -1, fmt.Errorf("cannot make mount of %s read-only: %w", name, err)
	}
	return fd, nil
}

func place(fd int, target string) error {
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("cannot mount %s: %w", target, err)
	}
	return nil
}

// makeRoot mounts a root in memory, as the kernel does for an initramfs, and leaves the host's. Its programs are the
// deployment's own.
func (p plan) makeRoot(h hardware) error {
	if err := unix.Mount("tmpfs", p.Scratch, "tmpfs", unix.MS_NOSUID, "mode=755,size=16m"); err != nil {
		return fmt.Errorf("cannot mount root of initramfs: %w", err)
	}
	if err := os.Chdir(p.Scratch); err != nil {
		return fmt.Errorf("cannot enter root of initramfs: %w", err)
	}
	for _, dir := range []string{"dev", "etc", "host", "proc", "run", "sys", "sysroot", "usr"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return fmt.Errorf("cannot create directory of initramfs: %w", err)
		}
	}
	for _, dir := range []string{"bin", "lib", "lib64", "sbin"} {
		if err := os.Symlink("usr/"+dir, dir); err != nil {
			return fmt.Errorf("cannot create link of initramfs: %w", err)
		}
	}
	for name, content := range map[string]string{"initrd-release": "ID=sandbox\n", "cmdline": p.Options + "\n", "boot_id": p.BootID + "\n"} {
		if err := os.WriteFile(filepath.Join("etc", name), []byte(content), 0o444); err != nil {
			return fmt.Errorf("cannot create file of initramfs: %w", err)
		}
	}
	if err := place(h.disk, "sysroot"); err != nil {
		return err
	}
	if err := place(h.usr, "usr"); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "host"); err != nil {
		return fmt.Errorf("cannot leave the host's root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return fmt.Errorf("cannot enter root of initramfs: %w", err)
	}
	if err := unix.Unmount("/host", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("cannot leave the host's root: %w", err)
	}
	return nil
}

// prepareRoot runs the deployment's ostree-prepare-root, which leaves the deployment at /sysroot.
func prepareRoot() error {
	cmd := exec.Command("/usr/lib/ostree/ostree-prepare-root", "/sysroot")
	cmd.Env = []string{"PATH=" + initPath}
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	_, _ = os.Stderr.Write(out)
	if err != nil {
		return fmt.Errorf("cannot run ostree-prepare-root: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// switchRoot moves what the initramfs has mounted into the deployment's root, mounts the stateroot's /var there and
// makes it the root. ostree's generator would mount /var too, but later than the machine's devices below it are
// plugged in; it finds it mounted.
func (p plan) switchRoot() error {
	for _, dir := range []string{"dev", "proc", "run", "sys"} {
		if err := unix.Mount("/"+dir, "/sysroot/"+dir, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("cannot move /%s: %w", dir, err)
		}
	}
	stateroot := filepath.Join("/sysroot/sysroot/ostree/deploy", p.Stateroot, "var")
	if err := unix.Mount(stateroot, "/sysroot/var", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("cannot mount /var: %w", err)
	}
	if err := os.Chdir("/sysroot"); err != nil {
		return fmt.Errorf("cannot enter deployment: %w", err)
	}
	// The old root is stacked below the new one by this, and taken away by what follows.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("cannot enter deployment: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("cannot leave initramfs: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return fmt.Errorf("cannot enter deployment: %w", err)
	}
	return nil
}

// plug mounts the devices in the node's root.
func (h hardware) plug(binds []Bind) error {
	for i, fd := range h.devices {
		var stat unix.Stat_t
		if err := unix.Fstat(fd, &stat); err != nil {
			return fmt.Errorf("cannot look at %s: %w", binds[i].Source, err)
		}
		if err := makeTarget(binds[i].Target, stat.Mode&unix.S_IFMT == unix.S_IFDIR); err != nil {
			return fmt.Errorf("cannot create mount point: %w", err)
		}
		if err := place(fd, binds[i].Target); err != nil {
			return err
		}
	}
	return nil
}

// makeTarget creates a mount point where there is none.
func makeTarget(name string, dir bool) error {
	if _, err := os.Stat(name); err == nil {
		return nil
	}
	if dir {
		return os.MkdirAll(name, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	file, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return file.Close()
}
