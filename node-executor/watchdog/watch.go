package watchdog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

const (
	// interval is how often the watchdog looks and how much powered-on time a power cut can hide from it.
	interval = 2 * time.Second
	// patience is how long an orderly reboot may take before the machine is reset.
	patience = 5 * time.Minute
)

// Host is what the watchdog needs of the node.
type Host interface {
	BootID() (string, error)
	BootTime() (time.Duration, error) // CLOCK_BOOTTIME
	// SetDefault makes a deployment the one that boots next; it is idempotent.
	SetDefault(ctx context.Context, stateroot, commit string, serial int) error
	// Reboot asks for an orderly reboot and returns.
	Reboot(ctx context.Context, message string) error
	// Reset reboots at once, without any shutdown.
	Reset() error
}

// Watch watches the new root: it returns nil when the root is confirmed or there is nothing to watch, and never returns
// by itself once it has given up. It is run in the new root only.
func (d Dir) Watch(ctx context.Context, h Host, log *slog.Logger) error {
	for {
		r, err := d.look(h)
		switch {
		case errors.Is(err, ErrUnarmed):
			return nil
		case err != nil:
			// An unreadable clock or record may be readable the next time, and giving up would need the record.
			log.Error("cannot look after the new root", "error", err)
		case r.Phase == Confirmed:
			return nil
		case r.Phase == GivenUp:
			log.Warn("going back to the old root", "why", r.Why, "stateroot", r.Old.Stateroot)
			return d.goBack(ctx, r, h, log)
		}
		if err := pause(ctx, interval); err != nil {
			return err
		}
	}
}

func (d Dir) look(h Host) (Record, error) {
	id, err := h.BootID()
	if err != nil {
		return Record{}, err
	}
	at, err := h.BootTime()
	if err != nil {
		return Record{}, err
	}
	return d.change(func(r *Record) error {
		*r = Decide(*r, Moment{BootID: id, BootTime: at})
		return nil
	})
}

// goBack boots the old root. It ends only with the machine or ctx.
func (d Dir) goBack(ctx context.Context, r Record, h Host, log *slog.Logger) error {
	var asked time.Duration // CLOCK_BOOTTIME of the first reboot that was asked for; 0 before
	for {
		err := d.Guard(func(Record, error) error {
			return h.SetDefault(ctx, r.Old.Stateroot, r.Old.Commit, r.Old.Serial)
		})
		if err != nil {
			log.Error("cannot make the old root the default", "error", err)
		} else if asked, err = reboot(ctx, asked, r.Why, h); err != nil {
			log.Error("cannot boot the old root", "error", err)
		}
		if err := pause(ctx, interval); err != nil {
			return err
		}
	}
}

// reboot asks for an orderly reboot once, and for a reset when that has not come about after some time.
func reboot(ctx context.Context, asked time.Duration, why string, h Host) (time.Duration, error) {
	now, err := h.BootTime()
	if err != nil {
		return asked, err
	}
	if asked == 0 {
		if err := h.Reboot(ctx, "reroot goes back to the old root: "+why); err != nil {
			return now, fmt.Errorf("%w; the machine is reset in %s", err, patience)
		}
		return now, nil
	}
	if now-asked >= patience {
		return asked, h.Reset()
	}
	return asked, nil
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
