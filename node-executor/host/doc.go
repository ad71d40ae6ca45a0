// Package host is the node's operating system as the executor sees it: ostree deployments and boot entries, systemd
// units, mounts, durable files, the boot id and the powered-on clock.
//
// It is the only package that runs programs. Arguments are slices and never pass through a shell; the output of a
// program is bounded; a program dies with the executor, so that a restarted executor never works beside a program of its
// predecessor. It calls plain ostree, never rpm-ostree, and works on two kinds of system:
//
//   - the running host (the zero [Options]): deployments below /sysroot, boot entries below /boot, and libostree itself
//     says which deployment is booted;
//   - a sysroot in a plain directory ([Options].Sysroot), as a lab or an installer has it: nothing is ever booted there.
//
// What libostree reports has no machine-readable form; [ParseStatus] and [ParseBootEntry] read its text and the boot
// loader specification files. They are pure, and both views must agree before a [Deployment] is returned.
//
// Positions in the deployment list shift with every change, so none is ever kept: every operation takes a stateroot, a
// commit and a serial and resolves the position again.
package host
