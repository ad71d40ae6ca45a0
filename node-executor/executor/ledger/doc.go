// Package ledger is the executor's memory: what it was asked to do, how far it is, and what it has still to report. It
// is one append-only file in the state directory, which both roots see, so a pivot that was begun in one root is
// finished or reverted from the other.
//
// Each line of the file is one record: the CRC-32C of what follows, in eight hex digits, a space, and a JSON array of
// entries. Entries of one record are atomic: after a crash either all of them happened or none. Whether a command
// failed and what is to be reported about it are therefore never told apart. [State] is the fold of all entries.
//
// An append is acknowledged when the file is on the disk. A crash in the middle of one leaves a torn last line, which is
// cut off on the next open; damage anywhere else is [ErrDamaged] and stops the executor, because going on from half a
// memory could undo a confirmed upgrade (the watchdog does not read the ledger and reverts an unconfirmed one).
//
// Facts form a chain of their own, across restarts and roots: the ledger stamps each with its ordinal (nodesequence)
// and the hash of the fact before it (nodeprevhash).
package ledger
