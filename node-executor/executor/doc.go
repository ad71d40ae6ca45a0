// Package executor is the engine of the node: it takes the commands of this cluster's history, carries each out as a
// list of named steps (package step), and reports what became of it. Everything that it knows is in its ledger
// (package ledger), so it may die at any moment, in either root:
//
//	command ──► judge ──► ledger: accepted ──► acknowledged to the journal
//	                         │
//	                         ▼ one durable entry before and after each step
//	                      step, step, step ──► ledger: ended + fact, in one record
//	                         │ a step failed                     │
//	                         ▼                                   ▼
//	                      undo, undo ──► ended + fact         outbox ──► inbox of the journal, for ever
//
// After a start the ledger says which step was interrupted; it is run again. Commands that end in a reboot have no end
// within one life of the executor: after the reboot the boot id and the booted deployment decide what is reported
// (settle.go), and about which root runs the node is always right.
//
// The pivot is held back until the two commands that follow it in the new root are in the ledger as well. From then on
// the node needs neither hub nor network: it reboots, regenerates keys, reconfigures, or goes back by itself.
package executor
