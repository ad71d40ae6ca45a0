// Package step holds what the node does for each command, as a list of named steps that a newcomer can read like a
// list of phases. There is one file a command; in it every step has its Do and, where something can be taken back, its
// Undo beside it.
//
//	seedpull     check-host, import
//	precache     pull-images
//	pivot        check-program, check-target, collect-site, write-units, write-site, arm-watchdog, set-default, reboot
//	cryptoregen  stop-gated, regenerate                                            in the new root
//	reconfigure  apply-files, update-trust, open-gate, await-api, apply-identity   in the new root
//	confirm      confirm                                                           in the new root
//	rollback     check-old, give-up, set-default-old, reboot
//	cleanup      check-confirmed, remove-stateroots, remove-gate, forget
//
// Rules that all steps keep, because the node may lose power anywhere:
//
//   - Do and Undo are idempotent: after a crash the step that was interrupted is run again from its beginning.
//   - Undo takes back whatever part of Do was done, none included.
//   - What a later step, an Undo or the report needs is left as a note ([Task.Keep]); it becomes durable together with
//     the step's end.
//   - A step that only waits (for the API server, say) waits until its context ends; the watchdog bounds it.
//
// The engine that runs them, remembers them and reports their outcome is package executor.
package step
