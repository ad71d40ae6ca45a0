package rule

// ChronyFile is where the node's time service is configured.
const ChronyFile = "/etc/chrony.conf"

// Chrony gives the node its own time sources, the content of chrony.conf.
func Chrony(value []byte) Rule {
	return Rule{
		Name:   "chrony",
		Why:    "the machine config daemon compares the file with the MachineConfig and declares the node degraded",
		Places: []Place{machineFile(ChronyFile, value), wholeFile(ChronyFile, value)},
	}
}
