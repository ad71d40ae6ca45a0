// Package heap prepares the heap of a program that will soon need much of it, for a short time.
//
// It is a module of its own because the executor and each of the etcds that it starts, modules that know nothing of each
// other, use it.
package heap

import (
	"runtime"
	"runtime/debug"
	"syscall"
)

// piece is what is asked for at once. Memory that the program has not used before is not written to when it is allocated in
// pieces: one that is partly used would be cleared as a whole.
const piece = 4 << 20 // bytes

// Expect lets the next bytes of the heap be made of huge pages. To get memory page by page costs a program that fills 200 MiB
// once 50,000 faults, on some virtual machines a quarter of its processor time. Where transparent huge pages are always
// enabled this is nothing new, where they are never, nothing happens. No memory is used before the program fills it.
func Expect(bytes int) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // there is nothing to be collected meanwhile
	pieces := make([][]byte, bytes/piece)
	for i := range pieces {
		pieces[i] = make([]byte, piece)
		// The advice belongs to the addresses and stays with them when the heap hands them out again. The kernel may not
		// know it: nothing is lost then.
		_ = syscall.Madvise(pieces[i], syscall.MADV_HUGEPAGE)
	}
	runtime.KeepAlive(pieces)
	clear(pieces)
	runtime.GC()
}
