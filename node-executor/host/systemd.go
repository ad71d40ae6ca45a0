package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Start starts a systemd unit and waits until systemd calls it started.
func (h *Host) Start(ctx context.Context, unit string) error { return h.systemctl(ctx, "start", unit) }

// Stop stops a systemd unit and waits until it has ended. A unit that does not run is no error.
func (h *Host) Stop(ctx context.Context, unit string) error { return h.systemctl(ctx, "stop", unit) }

// Enable has a systemd unit started at every boot.
func (h *Host) Enable(ctx context.Context, unit string) error {
	return h.systemctl(ctx, "enable", unit)
}

// Disable undoes [Host.Enable].
func (h *Host) Disable(ctx context.Context, unit string) error {
	return h.systemctl(ctx, "disable", unit)
}

// DaemonReload has systemd read its unit files again.
func (h *Host) DaemonReload(ctx context.Context) error { return h.systemctl(ctx, "daemon-reload") }

// IsActive reports whether a systemd unit is active; a unit that does not exist is not.
func (h *Host) IsActive(ctx context.Context, unit string) (bool, error) {
	out, err := h.Run(ctx, Cmd{Name: "systemctl", Args: []string{"is-active", "--", unit}})
	state := strings.TrimSpace(string(out))
	var exit *ExitError
	// is-active exits with 3 (4 for a unit that does not exist, since systemd 254) and still prints the state.
	if err != nil && (!errors.As(err, &exit) || state == "") {
		return false, fmt.Errorf("cannot ask for the state of %s: %w", unit, err)
	}
	return state == "active", nil
}

func (h *Host) systemctl(ctx context.Context, verb string, units ...string) error {
	args := append([]string{verb, "--"}, units...)
	if _, err := h.Run(ctx, Cmd{Name: "systemctl", Args: args}); err != nil {
		return fmt.Errorf("cannot %s %s: %w", verb, strings.Join(units, " "), err)
	}
	return nil
}

// Reboot has systemd reboot the machine and returns once the request is accepted. The request runs in a transient unit
// of its own, so that stopping the caller's unit, which is one of the first things a shutdown does, does not end it.
func (h *Host) Reboot(ctx context.Context, message string) error {
	args := []string{
		"--collect", "--no-block", "--quiet", "--description=Reroot: " + message, "--",
		"systemctl", "--message=" + message, "reboot",
	}
	if _, err := h.Run(ctx, Cmd{Name: "systemd-run", Args: args}); err != nil {
		return fmt.Errorf("cannot reboot: %w", err)
	}
	return nil
}

// BootID is the kernel's random id of this boot.
func (h *Host) BootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("cannot read the boot id: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// BootTime is the time since boot including suspension (CLOCK_BOOTTIME). It never jumps, unlike the wall clock.
func (h *Host) BootTime() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0, fmt.Errorf("cannot read the boot clock: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}
