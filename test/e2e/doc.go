// Package e2e tests the whole: upgrades of a real node in the lab (see test/lab/world), from the request to what is on
// disk and answers on the API afterwards.
//
//	upgrade_test.go    a good upgrade and its end; a failure behind the pivot and the way back
//	crash_test.go      processes of the node and of the pipeline are killed, the power is cut, at random moments of
//	                   upgrades, rollbacks and clean-ups (moments_test.go says which; process_test.go has the pipeline)
//	watchdog_test.go   new roots that nobody confirms, and ones that do not stay up
//	badinput_test.go   what is refused leaves the node as it was
//	solo_test.go       the node hosts journal and functions itself: it is killed and cut off, and loses its journal
//
// Every test needs root and makes a world of its own. `go test ./test/e2e -record DIR` writes the histories into DIR,
// which is how package replay got its own; `make crash` is the crash test with twelve upgrades instead of one, and the
// watchdog's. The same at every named point, without a cluster, is package crash.
//
// Bad input is tested where it is met first; the whole is tried only where several parts have to agree:
//
//	seed not newer, registry unreachable, pull secret missing,
//	ConfigMap malformed, wrong format, corrupt layer             here, and functions/validate, node-executor/seedimage
//	second upgrade, illegal stage                                here, and functions/runtime, functions
//	unknown fields, unknown type or version                      schemas, events
//	no space, a path that leads out of its root                  node-executor/seedimage
//	broken hash chain                                            events/journal, functions/runtime, events/cmd/reroot/cli
//	poison: parked, listed, replayed                             functions/runtime, events/cmd/reroot/cli
package e2e
