package sandbox

// What the parsers of the host's and the disk's text say is tested without a host and a disk.
var (
	BootLink    = bootLink
	CgroupMount = cgroupMount
)
