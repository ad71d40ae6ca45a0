// Package crash breaks the executor at every one of its fault points (package fault), in three ways each, and checks
// what is promised: whatever crashes, and whenever, the node ends confirmed on the new root or healthy on the old one.
//
//	error    the step fails there
//	kill     the executor is killed; its unit starts it again
//	reboot   the machine is reset; it boots the root that is the default by then
//
// A life is quick: there is no operating system to boot and no cluster. crash-node is the real executor with the real
// plans and steps, ledger, outbox and watchdog's record, and a real ostree that works on a plain directory. It is a
// process of its own, which really is killed; it is PID 1 of a PID namespace where the machine is to be reset, and the
// kernel really resets that. Stand-ins, in parts.go, are what needs a cluster or a registry, and systemd; machine.go has
// the machine, which starts the executor again, boots, and runs the real watchdog in the new root; hub.go has the
// pipeline's answers to the node's facts. The same breaks on a node that boots, with a cluster on it, at random moments
// instead of named points, are package e2e's.
//
// matrix_test.go goes through all points. points_test.go reads the source and fails where there is one that the matrix
// does not have.
package crash
