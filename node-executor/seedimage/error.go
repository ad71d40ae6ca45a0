package seedimage

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/seed/registry"
	"github.com/reroot-dev/reroot/node-executor/seedimage/archive"
)

// Error is a failure with the reason that events report.
type Error struct {
	reason events.Reason
	err    error
}

// Error implements error.
func (e *Error) Error() string { return e.err.Error() }

// Unwrap gives access to the cause.
func (e *Error) Unwrap() error { return e.err }

// Reason is the failure's reason in events.
func (e *Error) Reason() events.Reason { return e.reason }

// causes maps what lower layers report to reasons, besides what [registry.Reason] knows. The first match counts.
var causes = []struct {
	err    error
	reason events.Reason
}{
	{unix.ENOSPC, events.ReasonNoSpace},
	{unix.EDQUOT, events.ReasonNoSpace},
	{archive.ErrUnsafe, events.ReasonSeedUnsafe},
	{archive.ErrTooLarge, events.ReasonNoSpace}, // the limit is what the disk can spare
	{archive.ErrDamaged, events.ReasonSeedCorrupt},
}

// withReason gives err the reason of its cause, or otherwise one if nothing lower says more.
func withReason(err error, otherwise events.Reason) error {
	if err == nil {
		return nil
	}
	var reasoned interface{ Reason() events.Reason }
	if errors.As(err, &reasoned) {
		return &Error{reasoned.Reason(), err}
	}
	for _, c := range causes {
		if errors.Is(err, c.err) {
			return &Error{c.reason, err}
		}
	}
	if reason := registry.Reason(err); reason != "" {
		return &Error{reason, err}
	}
	return &Error{otherwise, err}
}
