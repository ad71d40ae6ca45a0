package rule

// Chrony gives the node its own time sources, the content of chrony.conf.
func Chrony(value []byte) Rule {
	const file = "/etc/chrony.conf"
	return Rule{
		Name:   "chrony",
		Why:    "the machine config daemon compares the file with the MachineConfig and declares the node degraded",
		Places: []Place{machineFile(file, value), wholeFile(file, value)},
	}
}
