// Package remedy says what a person can do about a failure that the node reports. The node says what failed; the function
// that ends a stage because of it knows what the person may ask for next, and no stage ends in a failure that says
// neither.
package remedy

import (
	"cmp"

	"github.com/reroot-dev/reroot/events"
)

// What a person does after the remedy, where the failure has ended a stage.
const (
	AskAgain         = "set stage Idle, then ask again"
	AskAfterRollback = "set stage Idle after the rollback, then ask again"
	RollBackAgain    = "then ask for stage Rollback again"
	CleanUpAgain     = "then ask for stage Idle again"
)

const newRoot = "look at the new root's journal, which is kept until Idle"

var remedies = map[events.Reason]string{
	events.ReasonSeedUnreachable:   "check the registry, and the node's DNS and proxy",
	events.ReasonSeedUnauthorized:  "put credentials for the registry into the pull secret",
	events.ReasonSeedNotFound:      "push the seed image again: it has been removed from the registry",
	events.ReasonSeedCorrupt:       "push the seed image again",
	events.ReasonSeedUnsafe:        "do not use this seed image: make another from a cluster that you trust",
	events.ReasonPullSecretMissing: "create the pull secret",
	events.ReasonNoSpace:           "make room on the node's disk",
	events.ReasonPrecacheFailed:    "make the seed's container images available in their registries",
	events.ReasonCommandRefused:    "check that no earlier upgrade of the node is under way",
	events.ReasonCryptoFailed:      newRoot,
	events.ReasonReconfigureFailed: newRoot,
	events.ReasonConfirmFailed:     newRoot,
	events.ReasonRollbackFailed:    "see what journalctl -u reroot-node says on the node, or choose the old root's entry at its console",
}

// Of is the node's failure with what to do about it: what the node advises, or what is known of its reason, and what to
// do then.
func Of(f events.Failure, then string) events.Failure {
	advice := cmp.Or(f.Next, remedies[f.Reason], "see what journalctl -u reroot-node says on the node")
	then = ", " + then
	f.Next = events.Line(advice, events.MaxText-len(then)) + then
	return f
}
