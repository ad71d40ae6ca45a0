// Package crypto gives a cluster that was copied from a seed image its own cryptography, while it is
// stopped: every private key, certificate and token of the seed is replaced by a fresh one that is related to the others
// as the old one was, and nothing else changes by a byte.
//
// One call, [Regenerate], does it; [Inspect] shows what is there and [Prepare] what would be done:
//
//	scan     read all files and all of etcd once; crawl finds material by content in any nesting
//	graph    keys as nodes, certificates as edges between issuer's and subject's key, tokens on keys
//	plan     decide per key: fresh, given (kept from the old cluster) or kept; refuse what is unclear
//	issue    generate keys in parallel, splice certificates, sign tokens
//	stage    the new content of every site, in memory
//	verify   read the staged content anew: its list of invariants; no old private key anywhere
//	commit   journal; guarded etcd transactions; atomic file replacement; forget what etcd keeps of old values, and look
//
// To make keys takes most of the time, so they are made from the moment when the first old one is seen, which is before etcd
// has started; what is issued on a key is issued as soon as that is there.
//
// Until the journal is written nothing has changed; from then on it only goes forward. A call after a crash
// finishes what was begun, and a call after the end returns the summary of what was done.
//
// When it has ended, no private key of the seed is left in any file or value, nor in what etcd keeps besides its values:
// history, free pages, snapshots and write-ahead log. Disk blocks that files gave back are not overwritten.
// Memory is not locked: a node of Kubernetes has no swap, and Go reserves much more than it uses. That no core is dumped is
// cmd/reroot-node's care.
package crypto
