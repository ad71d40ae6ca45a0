// Package runtime hosts functions. It is the only writer of the journal: it admits what comes from outside, hands each
// event to the functions that react to it together with the state at that event, and appends what they answer.
//
//	inbox ──► admit ──► journal ──► react (one subscription a function) ──► journal
//	            │                     │
//	            └──────► dead ◄───────┘          deadlines: journal ──► timer ──► journal
//
// # What is promised
//
// Whatever crashes, and however often something is delivered, the history ends equal. An event is appended before the
// delivery that caused it is acknowledged; the ids of what a function answers are derived from the event it answers;
// and an id that a history already has is never appended again. Two runtimes on one store are safe: the journal's
// compare-and-set lets one win, the other reads on and decides again.
//
// A decision is checked twice: by the table of reactions (may this function emit this type because of that event?) and
// by the fold of the whole history (does the state still allow it?). A decision that lost a race is dropped; it is not
// an error. An event none of whose reactions the state allows any more is not handled at all, so that a consumer that
// starts from the beginning does not repeat old side effects.
//
// Facts are taken in the order in which the node stated them, by their own number and hash. A missing one is waited
// for; one that can never come because it was parked is passed over.
//
// Nothing is lost silently: what is refused, and what fails for good, is parked in the store with a typed reason.
//
// When the hash chain of a history does not hold, that cluster is closed: no decision is appended to it, everything
// that arrives for it is parked as JournalCorrupt, and other clusters go on, until the history is restarted. The node finishes or reverts by itself.
package runtime
