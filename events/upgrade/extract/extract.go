// Package extract reads of an event's payload what the fold keeps, several times as fast as encoding/json: a history is
// folded again whenever a process starts, and decoding its payloads was most of that.
//
// Each function reads a valid payload as encoding/json would, field by field; it passes over fields that it does not
// know and reports text that is not JSON. Whether a payload satisfies its schema was decided when its event was
// admitted, see [events.Validate].
package extract

import "github.com/reroot-dev/reroot/events"

// Fact is what is kept of the reports of the node. A report of another type than those named has not got the field.
type Fact struct {
	Booted  events.Deployment  // where the node was when it reported
	BootID  string             // in which boot
	Failure events.Failure     // of *.failed: what failed
	Target  *events.Deployment // of node.seedpull.completed: what was made
	Trigger events.Trigger     // of node.rollback.completed
	Cause   *events.Failure    // of node.rollback.completed: why the node went back by itself
}

// OfFact reads a fact.
func OfFact(data []byte) (Fact, error) {
	return whole(data, func(r *reader) (f Fact) {
		for name := range r.object {
			switch name {
			case "booted":
				f.Booted = deployment(r)
			case "bootid":
				f.BootID = r.string()
			case "target":
				f.Target = optional(r, deployment)
			case "trigger":
				f.Trigger = events.Trigger(r.string())
			case "failure":
				f.Cause = optional(r, failure)
			default:
				failureField(r, name, &f.Failure)
			}
		}
		return f
	})
}

// Requested reads the payload of upgrade.requested.
func Requested(data []byte) (events.UpgradeRequested, error) {
	return whole(data, func(r *reader) (p events.UpgradeRequested) {
		for name := range r.object {
			switch name {
			case "spec":
				p.Spec = spec(r)
			case "through":
				p.Through = events.Stage(r.string())
			}
		}
		return p
	})
}

// Validated reads the payload of prep.validated.
func Validated(data []byte) (events.PrepValidated, error) {
	return whole(data, func(r *reader) (p events.PrepValidated) {
		for name := range r.object {
			switch name {
			case "checks":
				p.Checks = list(r, check)
			case "seed":
				p.Seed = seed(r)
			case "cluster":
				p.Cluster = identity(r)
			}
		}
		return p
	})
}

// PrepFailed reads the payload of prep.failed.
func PrepFailed(data []byte) (events.PrepFailed, error) {
	return whole(data, func(r *reader) (p events.PrepFailed) {
		for name := range r.object {
			switch name {
			case "checks":
				p.Checks = list(r, check)
			default:
				failureField(r, name, &p.Failure)
			}
		}
		return p
	})
}

// Failure reads the failure in the payload of any *.failed.
func Failure(data []byte) (events.Failure, error) { return whole(data, failure) }

// Backups reads the backups of backup.completed.
func Backups(data []byte) ([]events.BackupRef, error) {
	return field(data, "backups", func(r *reader) []events.BackupRef { return list(r, backup) })
}

// Restores reads the restores of restore.completed.
func Restores(data []byte) ([]events.RestoreRef, error) {
	return field(data, "restores", func(r *reader) []events.RestoreRef { return list(r, restore) })
}

// Trigger reads the trigger of rollback.started.
func Trigger(data []byte) (events.Trigger, error) {
	return field(data, "trigger", func(r *reader) events.Trigger { return events.Trigger(r.string()) })
}

// Wait reads the name of the wait of deadline.passed and node.overdue.
func Wait(data []byte) (string, error) { return field(data, "wait", (*reader).string) }

// Booted reads the booted deployment of journal.restarted, nil where none is known.
func Booted(data []byte) (*events.Deployment, error) {
	return field(data, "booted", func(r *reader) *events.Deployment { return optional(r, deployment) })
}

// whole reads data as one value.
func whole[T any](data []byte, read func(*reader) T) (T, error) {
	r := &reader{data: string(data)}
	v := read(r)
	return v, r.end()
}

// field reads one field of the object that data is.
func field[T any](data []byte, wanted string, read func(*reader) T) (T, error) {
	return whole(data, func(r *reader) (v T) {
		for name := range r.object {
			if name == wanted {
				v = read(r)
			}
		}
		return v
	})
}

// list reads an array; null is no list, not an empty one.
func list[T any](r *reader, read func(*reader) T) []T {
	if r.null() {
		return nil
	}
	all := []T{}
	for range r.array {
		all = append(all, read(r))
	}
	return all
}

// optional reads a value that may be null.
func optional[T any](r *reader, read func(*reader) T) *T {
	if r.null() {
		return nil
	}
	v := read(r)
	return &v
}
