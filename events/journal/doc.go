// Package journal keeps the histories: one append-only, hash-chained sequence of events per cluster, from which
// everything else is read.
//
// # What is stored where
//
//	UPGRADES   reroot.<cluster>.<upgrade>.<short type>       the histories; nothing can be deleted from it
//	INBOX      reroot-in.<cluster>.<origin>.<upgrade>        what came from outside and is not yet admitted
//	DEADLINES  reroot-deadline.<cluster>.{set,due}           at most one timer per cluster
//	PROGRESS   reroot-progress.<cluster>.<of>.<step>         the last report of each step
//	DEAD       reroot-dead.<cluster>.<id>                    what was refused or failed for good, with the reason
//
// # How a history grows
//
// A writer reads a history, folds it, decides, and appends right after the head that it has seen. [Log.Append] stamps
// the ordinal, the recorded time and the hash of the event before, and lets the server compare the newest message of
// "reroot.<cluster>.>" with the one that the writer saw: of two writers at the same head one gets [ErrConflict], reads
// on and decides again. One event is one publish; several are one atomic batch, so that nobody ever sees half of a
// decision. Readers recompute every hash and stop at the first link that does not hold.
//
// A history that was found damaged is closed for good. [Log.Restart] begins a new one with a journal.restarted event;
// the old records stay in the stream, before it, for whoever wants to find out what happened.
//
// An acknowledged event has been synced to disk: [Open] refuses a server that acknowledges earlier.
//
// # How it is delivered
//
// [Subscriber.Subscribe] and [Subscriber.Receive] deliver at least once to a durable consumer. Events of one cluster
// come one at a time and in order; clusters do not wait for each other. A delivery that asks for [Later] no longer
// holds up the ones behind it: a function that waits for a backup still hears that its deadline has passed. Duplicates
// are recognised by the reader of the history, by the events' ids, not by the server's duplicate window, which forgets.
//
// # Implementations
//
// [JetStream] stores in NATS JetStream, on a server of one's own ([OpenEmbedded]) or a cluster ([Open]). [Memory] is
// for tests and for looking at an exported history ([Import]). Both pass the contract in package journaltest. Messages
// follow the CloudEvents NATS protocol binding, binary mode ([Encode]); structured mode is read too.
package journal
