package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// deviceNodes are the character devices that programs cannot do without; all else of the host's /dev stays out.
var deviceNodes = []struct {
	name         string
	major, minor uint32
}{
	{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0},
}

var deviceLinks = map[string]string{
	"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
	"ptmx": "pts/ptmx",
}

// makeKernelFiles mounts what a kernel provides: /proc, /sys, /run and /dev.
func (p plan) makeKernelFiles(h hardware) error {
	for _, m := range []struct {
		kind, target string
		flags        uintptr
		data         string
	}{
		{"proc", "/proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
		{"tmpfs", "/run", unix.MS_NOSUID | unix.MS_NODEV, "mode=755"},
		{"tmpfs", "/dev", unix.MS_NOSUID, "mode=755,size=4m"},
	} {
		if err := unix.Mount(m.kind, m.target, m.kind, m.flags, m.data); err != nil {
			return fmt.Errorf("cannot mount %s: %w", m.target, err)
		}
	}
	if err := place(h.sys, "/sys"); err != nil {
		return err
	}
	// Inside the cgroup namespace this is the node's own group, whatever hierarchies the host mounts.
	if err := unix.Mount("cgroup2", "/sys/fs/cgroup", "cgroup2", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("cannot mount cgroups: %w", err)
	}
	if err := coverProc(); err != nil {
		return err
	}
	return makeDevices(h.console)
}

// coverProc gives the node its own command line and boot id, and keeps it from changing the host's kernel: a
// write to sysrq-trigger would reboot the host.
func coverProc() error {
	for _, name := range []string{"/proc/sys", "/proc/sysrq-trigger"} {
		fd, err := detach(name, true)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without SysRq
		}
		if err != nil {
			return err
		}
		if err := place(fd, name); err != nil {
			return err
		}
	}
	for source, target := range map[string]string{"/etc/cmdline": "/proc/cmdline", "/etc/boot_id": "/proc/sys/kernel/random/boot_id"} {
		fd, err := detach(source, true)
		if err != nil {
			return err
		}
		if err := place(fd, target); err != nil {
			return err
		}
	}
	return nil
}

func makeDevices(console int) error {
	for _, node := range deviceNodes {
		if err := unix.Mknod("/dev/"+node.name, unix.S_IFCHR|0o666, int(unix.Mkdev(node.major, node.minor))); err != nil {
			return fmt.Errorf("cannot create /dev/%s: %w", node.name, err)
		}
	}
	for name, target := range deviceLinks {
		if err := os.Symlink(target, "/dev/"+name); err != nil {
			return fmt.Errorf("cannot create /dev/%s: %w", name, err)
		}
	}
	for _, dir := range []string{"/dev/pts", "/dev/shm"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return fmt.Errorf("cannot create %s: %w", dir, err)
		}
	}
	if err := unix.Mount("devpts", "/dev/pts", "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"); err != nil {
		return fmt.Errorf("cannot mount /dev/pts: %w", err)
	}
	if err := unix.Mount("tmpfs", "/dev/shm", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"); err != nil {
		return fmt.Errorf("cannot mount /dev/shm: %w", err)
	}
	if err := os.WriteFile("/dev/console", nil, 0o600); err != nil {
		return fmt.Errorf("cannot create /dev/console: %w", err)
	}
	return place(console, "/dev/console")
}
