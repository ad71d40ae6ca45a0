package watchdog

import (
	"fmt"
	"time"
)

// MaxBoots is how often the new root may boot without being confirmed.
const MaxBoots = 3

// Moment is what the watchdog sees when it looks.
type Moment struct {
	BootID   string
	BootTime time.Duration // CLOCK_BOOTTIME
}

// Decide is the watchdog's whole judgement: it returns the record as it is at that moment, in which the phase says what
// is to be done. It is pure.
func Decide(r Record, now Moment) Record {
	if r.Phase != Armed {
		return r
	}
	if r.BootID != now.BootID {
		r.Earlier = r.Used()
		r.Boots++
		r.BootID, r.Since = now.BootID, now.BootTime
	}
	r.Seen = max(r.Since, now.BootTime)
	switch {
	case r.Boots > MaxBoots:
		r.Phase, r.Why = GivenUp, fmt.Sprintf("it was booted %d times without being confirmed", r.Boots)
	case r.Used() >= r.Budget:
		r.Phase, r.Why = GivenUp, fmt.Sprintf("it was not confirmed within %s of powered-on time", r.Budget)
	}
	return r
}
