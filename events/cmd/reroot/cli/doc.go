// Package cli is the command line of Reroot, one file a command.
//
// A command is a client of the event store and of nothing else: what it asks for goes into the inbox as an event, and
// what it shows is read from a history. It never writes a history, keeps no state of its own, and can be interrupted at
// any moment without effect on an upgrade.
//
// Data goes to the standard output, everything else to the standard error. A command that fails says so in three lines
// (what it cannot do, because of what, what to do next; see [Failure]) and exits with one of the codes that `reroot
// explain exit-code` lists.
package cli
