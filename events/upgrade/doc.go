// Package upgrade is the pure core: it folds the events of one cluster's history into a [State] and says what may
// happen next. It does no I/O and reads no clock; time enters only through the events.
//
//	[State.Apply]   the fold: state and event in, state out; refuses a decision that the state does not allow
//	[State.Admit]   the guard of requests from outside
//	[State.Waits]   what the state waits for, and until when
//	[Rules]         which event is legal in which phase, and which phase follows
//	[Reactions]     which function reacts to which event, and what it may emit
//	[Check]         the invariants that hold in every state
//
// Decisions (written by functions) are refused with a [GuardError] unless a rule allows them in the current phase.
// Facts (reported by the node) are never refused: in a phase that does not expect them they only update what is known
// about the node, and about which root runs the node is always right.
package upgrade
