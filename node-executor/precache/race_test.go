//go:build race

package precache_test

// parallel is 1 because containers/storage asserts that a lock is held by reading its flag without the mutex around it
// (lockfile.AssertLocked). The race detector sees that as soon as two goroutines use one store; it is harmless.
const parallel = 1
