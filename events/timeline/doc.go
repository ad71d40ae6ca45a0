// Package timeline shows an upgrade as a person watches it: stages, phases, steps, how long each takes and how it ends.
//
// A [Model] is the pure part. It takes the records of a history ([Model.Event]) and the reports of steps
// ([Model.Progress]) and says how that looks: as a block of lines that can be drawn again and again ([Model.Render]), and
// as one line for the newest change ([Model.Line]). [Live] feeds a model from a journal and draws it: one block,
// rewritten in place, where the output is a terminal; one line per change where it is not.
//
// All texts that come from events may come from a registry, a cluster or a node, so nothing of them reaches a terminal
// but printable characters.
package timeline
