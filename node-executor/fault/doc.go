// Package fault breaks the executor on purpose, at named points, so that tests can show what happens when it dies there.
// A release build contains none of it: [Maybe] is then an empty function.
//
// Built with the tag faultinject, Maybe looks for a plan: a small file, named by the environment variable
// REROOT_FAULT_PLAN, else /var/lib/reroot/fault-plan. Each of its lines names a point and what is to happen there:
//
//	pivot.set-default kill
//	cryptoregen.regenerate error
//	pivot.after-set-default reboot
//
// A line is struck out, durably, before it takes effect, so that everything happens once. The engine of the executor
// has two points around every step: COMMAND.STEP before it and COMMAND.after-STEP when it is done but not yet recorded.
package fault
