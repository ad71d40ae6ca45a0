// Package ostree makes the lab's operating systems: real ostree sysroots in plain directories, each with a Debian
// tree that boots, without anything of it being installed on the build host.
//
// Three layers, each cached and made only once:
//
//   - [Rootfs] is an ordinary Debian trixie root file system, made by mmdebstrap. It is the source of the trees and
//     of the ostree program: Debian 12's own (2022.7) has no "admin set-default". [Command] runs that program with
//     the root file system's loader and libraries, so it works on the host's paths: no chroot, no bind mounts.
//   - the base commit is that root file system in ostree's shape (/usr/etc, empty /var, kernel below
//     /usr/lib/modules), with only the units that a lab node needs. A [Tree] is layered over it: another version,
//     other files, another kernel file. Commits are kept in one repository in the cache.
//   - [NewSysroot] makes a sysroot, [Sysroot.Deploy] brings a commit in by hard links and deploys it with boot
//     loader entries and kernel arguments, as an installer would. It takes two to three seconds.
//
// What the trees are not: there is no SELinux policy, hence no labels; there are no kernel modules (NVMe and ext4
// are built into the kernel), and the initramfs image only names its system, since the sandbox node does an
// initramfs's work itself. Everything runs as root.
package ostree

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// stderrLines bounds how much of a failed program's output an error quotes.
const stderrLines = 8

// Command returns the argument vector that runs the root file system's ostree on the host's paths; arguments for
// ostree itself are appended to it.
func Command(rootfs string) ([]string, error) {
	loaders, err := filepath.Glob(filepath.Join(rootfs, "usr/lib*/ld-linux-*.so.*"))
	if err != nil || len(loaders) == 0 {
		return nil, fmt.Errorf("cannot find dynamic loader below %s", rootfs)
	}
	libraries, err := filepath.Glob(filepath.Join(rootfs, "usr/lib/*-linux-gnu"))
	if err != nil || len(libraries) == 0 {
		return nil, fmt.Errorf("cannot find libraries below %s", rootfs)
	}
	return []string{loaders[0], "--library-path", libraries[0], filepath.Join(rootfs, "usr/bin/ostree")}, nil
}

// tool runs one ostree program.
type tool struct {
	prefix []string
}

func newTool(rootfs string) (tool, error) {
	prefix, err := Command(rootfs)
	return tool{prefix: prefix}, err
}

// run returns the program's trimmed standard output.
func (t tool) run(ctx context.Context, args ...string) (string, error) {
	argv := append(append([]string{}, t.prefix...), args...)
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("cannot run ostree %s: %w: %s", strings.Join(args, " "), err, lastLines(errs.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

// program runs a program of the host with its output sent to log.
func program(ctx context.Context, log io.Writer, argv ...string) error {
	var tail bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = log, io.MultiWriter(log, &tail)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8")
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("cannot run %s: %w: %s", argv[0], err, lastLines(tail.String()))
	}
	return nil
}

func lastLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if len(lines) > stderrLines {
		lines = lines[len(lines)-stderrLines:]
	}
	return strings.Join(lines, "; ")
}
