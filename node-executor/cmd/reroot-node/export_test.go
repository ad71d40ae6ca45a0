package main

// Advice is what a failed regeneration is reported with.
func Advice(err error) error { return regeneration(err, false) }

// Report is for tests of what a person reads.
var Report = report
