package ostree

import (
	"bytes"
	"fmt"
)

// initramfs returns a cpio archive in the kernel's "newc" format
// (https://docs.kernel.org/driver-api/early-userspace/buffer-format.html) with one file, etc/initrd-release: the mark
// of an initramfs, by which a kernel or a reader can tell what the image belongs to.
func initramfs(release string) []byte {
	var image bytes.Buffer
	entry := func(name string, mode uint32, data string) {
		// Fields: inode, mode, uid, gid, links, mtime, size, device and rdev (major, minor), name length, check.
		fmt.Fprintf(&image, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
			image.Len(), mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0, name)
		pad(&image)
		image.WriteString(data)
		pad(&image)
	}
	entry("etc", 0o040755, "")
	entry("etc/initrd-release", 0o100644, release)
	entry("TRAILER!!!", 0, "")
	return image.Bytes()
}

// pad aligns the archive to the four bytes that the format wants after names and after data.
func pad(image *bytes.Buffer) {
	for image.Len()%4 != 0 {
		image.WriteByte(0)
	}
}
