// Package sandbox is a double of the machine that a node runs on: firmware, boot loader and initramfs in one
// program, so that an upgrade that replaces the whole operating system can be tried, with its reboots, in seconds
// and on any Linux machine.
//
// A boot goes as on hardware. The boot loader ([BLS]) reads the entries below the sysroot's boot/loader and takes the
// one with the highest version; kernel and initramfs files must exist. A new process, PID 1 of new mount, PID, IPC,
// UTS and cgroup namespaces, plays the initramfs: it sets up /dev, /proc, /sys and /run, puts the entry's options at
// /proc/cmdline and a new boot id at its place, runs the deployment's own ostree-prepare-root, enters the root that
// this has made and executes its /sbin/init. From there on only what that root's units start is running. When PID 1
// ends, the kernel ends every other process of the node; how PID 1 ended says what follows: reboot, power off, or
// power loss. Through a control socket the power can be cut and commands be run inside ([Exec], [PowerCut], [State]).
//
// Real are: libostree and ostree-prepare-root, the choice of the boot entry, the separation of deployments, /etc and
// /var, read-only mounts, the death of all processes, systemd with the node's units, systemctl reboot and poweroff,
// and the kernel arguments that systemd itself reads.
//
// Not real are: firmware and the boot loader's own parsing of file systems, the kernel and initramfs that the entry
// names (they must exist but do not run), what kernel arguments do to a kernel, caches of disks that lose power (a
// power cut kills processes; what they had written stays written), SELinux, devices, udev and mounts by label, and
// clocks: CLOCK_BOOTTIME goes on over a reboot. The network is the host's, so that servers on loopback are shared.
// /proc/sys, /sys and the magic SysRq trigger are read-only, since they are the host's.
//
// The supervising process mounts nothing and starts nothing outside the node's namespaces; killed at any moment, it
// takes the node with it and leaves an empty cgroup, which the next start removes. This package is beside the host
// package in starting programs, because it is below it: it is the machine that the host package works on.
package sandbox
