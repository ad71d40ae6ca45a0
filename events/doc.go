// Package events is the vocabulary of Reroot: every fact and decision in the life of an image-based upgrade is one
// CloudEvent whose type and payload are defined here. The package is pure: no I/O, no clock, no randomness.
//
// The life of an upgrade, as its history reads (writer in brackets):
//
//	upgrade.requested            [user]      what to install, what to keep, how far to go
//	prep.started                 [stage]     the request was accepted
//	prep.validated               [validate]  every check with what was observed and what was expected
//	node.seedpull.requested      [pullseed]  command: import the seed image as a new stateroot
//	node.seedpull.completed      [node]      fact: the deployment exists, is not the default
//	node.precache.requested      [pullseed]  command: pull the seed's container images
//	node.precache.completed      [node]
//	prep.completed               [pullseed]  the Prep stage is done
//	upgrade.started              [stage]     the Upgrade stage was asked for, now or from the start
//	backup.completed             [backup]    Velero Backups, names and uids pinned
//	node.pivot.requested         [pivot]     \
//	node.cryptoregen.requested   [pivot]      one batch: the node stores all three, then reboots
//	node.reconfigure.requested   [pivot]     /
//	node.pivot.completed         [node]      fact: the new deployment runs
//	node.cryptoregen.completed   [node]      fact: no key is shared with the seed any more
//	node.reconfigure.completed   [node]      fact: the API answers under the cluster's own identity
//	manifests.applied            [restore]
//	restore.completed            [restore]   Velero Restores, in waves
//	node.confirm.requested       [restore]   command: keep this root
//	node.confirm.completed       [node]      fact: the watchdog is disarmed; this root stays
//	upgrade.completed            [restore]
//	finalize.started             [stage]     the user asked for Idle: the way back is given up
//	node.cleanup.requested       [finalize]
//	node.cleanup.completed       [node]
//	idle.reached                 [finalize]
//
// Anything that goes wrong ends in a *.failed event that carries a [Reason]; after the pivot it is followed by
// rollback.started, node.rollback.completed and rollback.completed, and the old root runs again.
//
// An event is a *decision* (written by a function, guarded by compare-and-set on the history), a *fact* (reported by
// the node, always admitted), or a *request* (from a user, admitted or refused). Package upgrade folds them.
//
// The payload types here and the contracts in package schemas say the same thing twice, on purpose: one for Go, one
// for everybody else. Tests compare them field by field. A field without omitempty is required, so a list that is
// empty must be written as one: a nil slice becomes null, and null is refused.
package events
