//go:build !faultinject

package fault

// Maybe does nothing in this build.
func Maybe(string) error { return nil }
