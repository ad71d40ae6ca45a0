// Package watchdog brings the node back to its old root when the new one is not confirmed in time. It needs nothing
// but the disk: no network, no API server, no executor, no ledger, no wall clock.
//
// It is armed before the new root may boot ([Dir.Arm]), runs there as a unit of its own ([Dir.Watch]), and is disarmed by
// confirming the root ([Dir.Confirm]). Two budgets bound an unconfirmed root:
//
//   - powered-on time: the sum, over the boots of the new root, of CLOCK_BOOTTIME from the watchdog's start in that boot
//     until now. It is persisted every few seconds, so power cuts do not refill it. The wall clock, which may jump by
//     years on a machine without a battery, plays no part;
//   - boots: the fourth boot of the new root that finds it unconfirmed goes back at once, which ends boot loops that are
//     too short to use up the time.
//
// Its memory is one small record in two files, each with a checksum and a generation, written one after the other, in
// place: a torn or lost copy leaves the other, and a full disk does not stop it. Confirming and giving up exclude each
// other by a file lock: whichever is written first wins, and the other then sees it ([ErrGivenUp], [Confirmed]).
//
// Once it has given up it never goes back on that: it makes the old root the default and reboots, again and again,
// also over further boots of the new root, and resets the machine itself when an orderly reboot does not come about.
package watchdog
